use maud::{Markup, PreEscaped, html};

use super::{Comparison, Group, Outcome, Spread};

/// Width of the names, in pixels like all sizes here.
const NAMES: f64 = 190.0;
/// Width of a panel and the room between two.
const PANEL: f64 = 132.0;
const GAP: f64 = 34.0;
/// Height of a row, of what is above the first one and of what is below the last.
const ROW: f64 = 34.0;
const HEAD: f64 = 46.0;
const FOOT: f64 = 30.0;
/// Longest variant that is written out.
const MAX_VARIANT: usize = 34;

/// What a panel shows, of a group and of each of its runs.
struct Panel {
    title: &'static str,
    group: fn(&Group) -> Spread,
    run: fn(&Outcome) -> Option<f64>,
}

const PANELS: [Panel; 5] = [
    Panel { title: "all classes", group: |g| g.miou_all, run: |r| r.miou_all },
    Panel { title: "old classes", group: |g| g.miou_old, run: |r| r.miou_old },
    Panel { title: "new classes", group: |g| g.miou_new, run: |r| r.miou_new },
    Panel { title: "base step", group: |g| g.base_miou, run: |r| r.base_miou },
    Panel { title: "retention", group: |g| g.retention, run: |r| r.retention },
];

/// Colours by class, as the style of the page names them.
const STYLE: &str = ".dots{font:12px system-ui,sans-serif}.dots text{fill:var(--text)}.dots .quiet{fill:var(--quiet)}.dots .small{font-size:10.5px}\
    .dots .grid{stroke:var(--line);stroke-width:1}.dots .run{fill:none;stroke:var(--s0);stroke-opacity:.55}.dots .mean{fill:var(--s0)}\
    .dots .spread{stroke:var(--s0);stroke-width:2}";
/// The same colours for a picture that stands alone, on white.
const COLORS: [(&str, &str); 4] = [("--text", "#1c2430"), ("--quiet", "#5d6878"), ("--line", "#dde2e9"), ("--s0", "#1f6fd1")];

/// A plot of one order for the page, which has the colours: a row for each group, a panel for each figure.
pub(super) fn inline(groups: &[Group], runs: &[Outcome]) -> Markup {
    let (width, height) = size(groups);
    html! {
        svg.dots viewBox=(format!("0 0 {width} {height}")) style=(format!("min-width:{width}px")) role="img" aria-label="mean IoU of every group" {
            style { (PreEscaped(STYLE)) }
            (drawing(groups, runs))
        }
    }
}

/// Plots of all orders, one below the other, as an SVG file.
pub(super) fn standalone(comparison: &Comparison) -> String {
    let orders: Vec<&[Group]> = comparison.groups.chunk_by(|a, b| a.order == b.order).collect();
    let (title, margin) = (24.0, 12.0);
    let height: f64 = orders.iter().map(|groups| size(groups).1 + title).sum::<f64>() + 2.0 * margin;
    let width = size(&comparison.groups).0 + 2.0 * margin;
    let mut top = margin;
    let svg = html! {
        svg.dots xmlns="http://www.w3.org/2000/svg" width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) {
            style { (PreEscaped(STYLE)) }
            rect width="100%" height="100%" fill="#ffffff" {}
            @for groups in orders {
                g transform=(format!("translate({margin} {top})")) {
                    text y="14" font-weight="600" { "Order " (groups[0].order) }
                    g transform=(format!("translate(0 {title})")) { (drawing(groups, &comparison.runs)) }
                }
                ({ top += size(groups).1 + title; "" })
            }
        }
    };
    COLORS.iter().fold(svg.into_string(), |svg, (name, color)| svg.replace(&format!("var({name})"), color)) + "\n"
}

fn size(groups: &[Group]) -> (f64, f64) {
    (NAMES + PANELS.len() as f64 * (PANEL + GAP), HEAD + ROW * groups.len() as f64 + FOOT)
}

fn drawing(groups: &[Group], runs: &[Outcome]) -> Markup {
    html! {
        @for (row, group) in groups.iter().enumerate() {
            @let y = HEAD + ROW * (row as f64 + 0.5);
            text x="0" y=(if group.variant.is_empty() { y + 4.0 } else { y - 2.0 }) { (group.preset) }
            @if !group.variant.is_empty() { text.quiet.small x="0" y=(y + 11.0) { (shortened(&group.variant)) } }
        }
        @for (column, panel) in PANELS.iter().enumerate() {
            @let left = NAMES + column as f64 * (PANEL + GAP) + GAP / 2.0;
            g transform=(format!("translate({left} 0)")) { (draw(panel, groups, runs)) }
        }
        text.quiet.small x="0" y=(size(groups).1 - 8.0) { "percent; ring: a seed, bar: ± std" }
    }
}

fn draw(panel: &Panel, groups: &[Group], runs: &[Outcome]) -> Markup {
    let of = |group: &Group| -> Vec<f64> { runs.iter().filter(|r| group.key() == r.key()).filter_map(panel.run).collect() };
    let highest = groups.iter().flat_map(&of).fold(1.0, f64::max);
    // A quarter more wherever something is better than 100 %.
    let end = (4.0 * highest - 1e-9).ceil() / 4.0;
    let x = |value: f64| (PANEL * value.clamp(0.0, end) / end * 10.0).round() / 10.0;
    let bottom = HEAD + ROW * groups.len() as f64;
    html! {
        text x="0" y="16" font-weight="600" { (panel.title) }
        @for quarter in 0..=(4.0 * end).round() as u32 {
            @let value = f64::from(quarter) / 4.0;
            line.grid x1=(x(value)) x2=(x(value)) y1=(HEAD - 8.0) y2=(bottom) {}
            @if quarter % 2 == 0 { text.quiet.small x=(x(value)) y=(bottom + 14.0) text-anchor="middle" { (100.0 * value) } }
        }
        @for (row, group) in groups.iter().enumerate() {
            @let y = HEAD + ROW * (row as f64 + 0.5);
            @let Spread { mean, std } = (panel.group)(group);
            @if let Some(mean) = mean {
                @if let Some(std) = std { line.spread x1=(x(mean - std)) x2=(x(mean + std)) y1=(y) y2=(y) {} }
                @for value in of(group) { circle.run cx=(x(value)) cy=(y) r="3.2" {} }
                rect.mean x=(x(mean) - 1.5) y=(y - 7.0) width="3" height="14" {}
                text.small x=(x(mean)) y=(y - 9.0) text-anchor=(anchor(x(mean))) { (format!("{:.1}", 100.0 * mean)) }
            } @else {
                text.quiet x="0" y=(y + 4.0) { "–" }
            }
        }
    }
}

/// A number at the edge of its panel stays inside.
fn anchor(x: f64) -> &'static str {
    match x {
        x if x < 12.0 => "start",
        x if x > PANEL - 12.0 => "end",
        _ => "middle",
    }
}

fn shortened(variant: &str) -> String {
    if variant.chars().count() <= MAX_VARIANT {
        return variant.into();
    }
    variant.chars().take(MAX_VARIANT - 1).chain(['…']).collect()
}
