use maud::{Markup, html};

use super::figures::chip;
use super::run::RunData;

/// Confusion matrix after the last finished step: share of the pixels of each true class.
pub(super) fn render(run: &RunData) -> Markup {
    let Some(last) = run.last() else { return html! { p.quiet { "No step is finished yet." } } };
    let matrix = &last.metrics.confusion;
    let classes: Vec<_> = run.classes.iter().take(matrix.classes()).collect();
    html! {
        div.scroll {
            table.figures.confusion {
                thead {
                    tr {
                        th scope="col" { "truth ↓ / predicted →" }
                        @for class in &classes { th scope="col" { (chip(class.color)) (class.name) } }
                        th scope="col" { "pixels" }
                    }
                }
                tbody {
                    @for (truth, class) in classes.iter().enumerate() {
                        @let total = matrix.truth_total(truth);
                        tr {
                            th scope="row" { (chip(class.color)) (class.name) }
                            @for predicted in 0..classes.len() { (cell(matrix.count(truth, predicted), total, truth == predicted)) }
                            td { (grouped(total)) }
                        }
                    }
                }
            }
        }
        p.quiet { "After step " (last.metrics.step) ", in percent of the validation pixels of each true class; what is below 0.05 % is left empty." }
    }
}

fn cell(count: u64, total: u64, hit: bool) -> Markup {
    if total == 0 {
        return html! { td { "–" } };
    }
    let share = count as f64 / total as f64;
    html! { td.heat.better[hit].worse[!hit] style={ "--v:" (format!("{share:.3}")) } { @if share >= 0.0005 { (format!("{:.1}", 100.0 * share)) } } }
}

/// A count with thin spaces between its thousands.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_set_apart() {
        let grouped = |n| super::grouped(n).replace('\u{202f}', "_");
        assert_eq!([grouped(0), grouped(999), grouped(1000), grouped(1_234_567)], ["0", "999", "1_000", "1_234_567"]);
    }
}
