//! How a failure is told to a person: message, detail, hint, once, on standard error.

use lw_gateway::Refusal;
use std::fmt;

/// A failure with something to type, as the API and the command line give it.
#[derive(Debug)]
pub struct Failure(pub Refusal);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal {
            message,
            detail,
            hint,
            rendered,
            ..
        } = &self.0;
        if !rendered.is_empty() {
            return f.write_str(rendered.trim_end());
        }
        write!(f, "{message}")?;
        if !detail.is_empty() {
            write!(f, "\n{detail}")?;
        }
        if !hint.is_empty() {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// A failure with a hint.
pub fn failure(message: impl fmt::Display, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Failure(Refusal::new(400, message).hint(hint)))
}

/// Prints the chain of causes once.
pub fn print(error: &anyhow::Error) {
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    eprintln!("error: {}", chain.join(": "));
}
