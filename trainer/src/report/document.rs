use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A page of its own around `body`: style inside, no script, no other file, no network.
pub(crate) fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (body)
                footer { "Written by amis-train " (env!("CARGO_PKG_VERSION")) "." }
            }
        }
    }
}
