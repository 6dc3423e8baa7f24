use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

/// Size of the drawing; the page scales it to its column.
const SIZE_PX: (u32, u32) = (440, 270);
/// Text size; plotters divides it by 1.24 on its way to SVG pixels.
const TEXT_SIZE: f64 = 16.0;
/// Series colours of the page's style, `--s0` to `--s7`.
pub(crate) const COLORS: usize = 8;
/// Stand-ins that [`themed`] turns into the colours of the page, light or dark.
const TEXT: RGBColor = RGBColor(1, 2, 3);
const GRID: RGBColor = RGBColor(1, 2, 4);
const SERIES: [RGBColor; COLORS] = {
    let mut colors = [RGBColor(1, 3, 0); COLORS];
    let mut i = 0;
    while i < COLORS {
        colors[i].2 = i as u8;
        i += 1;
    }
    colors
};

/// One line.
pub(crate) struct Series {
    pub(crate) name: String,
    /// Number of its colour.
    pub(crate) color: usize,
    pub(crate) points: Vec<(f64, f64)>,
    /// A point that gets a ring.
    pub(crate) ringed: Option<(f64, f64)>,
}

/// How the values are laid out upwards.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    /// 0 to 100.
    Percent,
    /// Powers of ten; values that are not positive are left out.
    Log,
}

/// A line chart.
pub(crate) struct Chart {
    /// What it shows, for people who cannot see it.
    pub(crate) title: String,
    pub(crate) x_label: &'static str,
    pub(crate) y_label: &'static str,
    pub(crate) scale: Scale,
    pub(crate) series: Vec<Series>,
}

impl Chart {
    /// The chart as an SVG element that inherits font and colours of the page.
    pub(crate) fn svg(&self) -> Result<String, String> {
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, SIZE_PX).into_drawing_area();
        match self.scale {
            Scale::Percent => self.draw(&root, 0.0..100.0, &|v| format!("{v:.0}")),
            Scale::Log => self.draw(&root, self.log_range().log_scale(), &power_of_ten),
        }
        .and_then(|()| root.present().map_err(|e| e.to_string()))?;
        drop(root);
        Ok(themed(&svg, &self.title))
    }

    fn points(&self, series: &Series) -> Vec<(f64, f64)> {
        series.points.iter().copied().filter(|p| self.scale == Scale::Percent || p.1 > 0.0).collect()
    }

    /// Whole powers of ten around all values.
    fn log_range(&self) -> std::ops::Range<f64> {
        let values = self.series.iter().flat_map(|s| self.points(s)).map(|p| p.1.log10());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return 0.1..1.0;
        }
        let low = low.floor();
        // A hair wider, or rounding in the axis takes away the label at its end.
        10f64.powf(low - 1e-6)..10f64.powf(high.ceil().max(low + 1.0) + 1e-6)
    }

    /// From 0 to the last point, with room for the rings.
    fn x_range(&self) -> std::ops::Range<f64> {
        let last = self.series.iter().flat_map(|s| &s.points).map(|p| p.0).fold(1.0, f64::max);
        -0.02 * last..1.03 * last
    }

    fn draw<Y>(&self, root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, y: Y, y_text: &dyn Fn(&f64) -> String) -> Result<(), String>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let text = |e: DrawingAreaErrorKind<_>| format!("{e:?}");
        let font = ("sans-serif", TEXT_SIZE).into_font().color(&TEXT);
        let mut chart =
            ChartBuilder::on(root).margin(6).margin_top(12).x_label_area_size(44).y_label_area_size(58).build_cartesian_2d(self.x_range(), y).map_err(text)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(GRID)
            .label_style(font)
            .x_labels(6)
            .y_labels(6)
            .x_desc(self.x_label)
            .y_desc(self.y_label)
            .x_label_formatter(&|v| if (v - v.round()).abs() < 1e-6 { format!("{:.0}", v.round()) } else { String::new() })
            .y_label_formatter(&|v| y_text(v))
            .draw()
            .map_err(text)?;
        for series in &self.series {
            let (color, points) = (SERIES[series.color % COLORS], self.points(series));
            let few = points.len() <= 20;
            chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2))).map_err(text)?;
            chart.draw_series(points.iter().filter(|_| few).map(|&p| Circle::new(p, 3, color.filled()))).map_err(text)?;
            chart.draw_series(series.ringed.map(|p| Circle::new(p, 7, color.stroke_width(2)))).map_err(text)?;
        }
        Ok(())
    }
}

fn power_of_ten(value: &f64) -> String {
    let exponent = value.log10();
    if (exponent - exponent.round()).abs() > 1e-3 {
        String::new()
    } else if (-3.0..=3.0).contains(&exponent.round()) {
        format!("{}", 10f64.powf(exponent.round()))
    } else {
        format!("1e{:.0}", exponent.round())
    }
}

/// Replaces the stand-in colours by the page's, the fixed size by that of the column, and the opening tag by one that HTML needs.
fn themed(svg: &str, title: &str) -> String {
    let body = svg.split_once("<svg").and_then(|(_, rest)| rest.split_once('>')).map_or(svg, |(_, body)| body);
    let hex = |c: RGBColor| format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2);
    let mut body = body.replace(&hex(TEXT), "currentColor").replace(&hex(GRID), "var(--line)").replace(" font-family=\"sans-serif\"", "");
    for (number, color) in SERIES.iter().enumerate() {
        body = body.replace(&hex(*color), &format!("var(--s{number})"));
    }
    let title = maud::html! { (title) }.into_string();
    format!("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{title}\">{body}", SIZE_PX.0, SIZE_PX.1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chart(scale: Scale, points: Vec<(f64, f64)>) -> String {
        let series = vec![Series { name: "a".into(), color: 9, points, ringed: None }];
        Chart { title: "a <b> chart".into(), x_label: "epoch", y_label: "IoU (%)", scale, series }.svg().unwrap()
    }

    #[test]
    fn a_chart_takes_fonts_and_colours_from_the_page() {
        let svg = chart(Scale::Percent, vec![(0.0, 10.0), (4.0, 90.0)]);
        assert!(svg.starts_with("<svg viewBox") && svg.contains("a &lt;b&gt; chart") && svg.contains("IoU (%)"), "{svg}");
        assert!(svg.contains("var(--s1)") && svg.contains("currentColor"));
        assert!(!svg.contains("http") && !svg.contains("font-family") && !svg.contains("#0102"), "{svg}");
    }

    #[test]
    fn a_log_scale_covers_whole_powers_and_leaves_out_what_it_cannot_show() {
        let svg = chart(Scale::Log, vec![(0.0, 0.02), (10.0, 0.0), (20.0, 3.0)]);
        for label in ["0.01", "0.1", "1", "10"] {
            assert!(svg.contains(&format!("\n{label}\n")), "{label} in {svg}");
        }
        chart(Scale::Log, vec![(0.0, 0.0)]);
        chart(Scale::Log, vec![]);
        chart(Scale::Percent, vec![]);
    }
}
