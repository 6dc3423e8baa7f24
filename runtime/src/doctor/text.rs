use std::fmt;

use super::{Report, State};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<13} {}, {} processors", "amis-run", self.version, self.processors)?;
        for finding in &self.findings {
            write!(f, "\n{:<13} {}{}", finding.topic, if finding.state == State::Missing { "missing: " } else { "" }, finding.found)?;
            if let Some(advice) = &finding.advice {
                write!(f, "\n{:<13} -> {advice}", "")?;
            }
        }
        Ok(())
    }
}
