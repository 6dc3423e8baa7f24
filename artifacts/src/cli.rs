//! What all binaries share: how an error is shown and which exit code it gives.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use miette::Diagnostic;

/// Exit code of a failure, from the family in its diagnostic code:
/// `amis::usage::*` 2, `amis::input::*` 3, `amis::environment::*` 4, everything else 1.
pub fn exit_code(error: &dyn Diagnostic) -> u8 {
    let code = error.code().map(|c| c.to_string()).unwrap_or_default();
    match code.split("::").nth(1) {
        Some("usage") => 2,
        Some("input") => 3,
        Some("environment") => 4,
        _ => 1,
    }
}

/// The failure as a person reads it: message, causes, advice.
pub fn describe(error: &dyn Diagnostic) -> String {
    let mut text = format!("error: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!("\n  because: {cause}"));
        source = cause.source();
    }
    if let Some(help) = error.help() {
        text.push_str(&format!("\n  help: {help}"));
    }
    if let Some(code) = error.code() {
        text.push_str(&format!("\n  code: {code}"));
    }
    text
}

/// Ends a program: on success prints `value` as JSON if asked to, on failure the error on stderr (and as JSON on stdout if asked to).
pub fn finish<T: serde::Serialize, E: Diagnostic>(result: Result<T, E>, json: bool) -> ExitCode {
    match result {
        Ok(value) => {
            if json {
                print_line(serde_json::to_string_pretty(&value).unwrap_or_else(|e| format!("{{\"error\": \"{e}\"}}")));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", describe(&error));
            if json {
                let object = serde_json::json!({ "error": {
                    "code": error.code().map(|c| c.to_string()),
                    "message": error.to_string(),
                    "help": error.help().map(|h| h.to_string()),
                }});
                print_line(format_args!("{object:#}"));
            }
            ExitCode::from(exit_code(&error))
        }
    }
}

/// A line on stdout. Whoever reads it may have gone (`| head`): the work is done all the same.
pub fn print_line(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn wrong_input_exits_with_3_and_says_what_to_do() {
        let error = Error::Classes { reason: "class 3 is named twice".into() };
        assert_eq!(exit_code(&error), 3);
        let text = describe(&error);
        assert!(text.contains("class 3 is named twice") && text.contains("help: ids count up"), "{text}");
    }
}
