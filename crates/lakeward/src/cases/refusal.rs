//! Scripts that are refused: what is said to them is what has to come.

use super::drive::{Runner, Way};
use super::format::Refusal;
use super::{CaseFile, Finding, difference};
use lw_runtime::Rules;

/// What is not as the case says of its refusal.
pub fn judge(file: &CaseFile, refusal: &Refusal) -> Option<Finding> {
    let finding = |difference| Finding {
        what: "refused".to_string(),
        way: Way::Plain,
        difference,
    };
    match told(file) {
        None if refusal.ours => Some(finding(vec![
            "+ it runs: `lakeward test --update` takes the section away".to_string(),
        ])),
        None => Some(finding(vec!["+ it runs".to_string()])),
        Some(_) if refusal.ours => None,
        Some(messages) if messages == refusal.messages => None,
        Some(messages) => Some(finding(difference(&refusal.messages, &messages))),
    }
}

/// What is said to the script by the planner, or else by the runtime when it is to run; `None` when it runs.
pub fn told(file: &CaseFile) -> Option<Vec<String>> {
    let planned = match file.plan() {
        Ok(planned) => planned,
        Err(diagnostics) => {
            let messages = diagnostics.0.iter();
            return Some(messages.map(|told| told.message.clone()).collect());
        }
    };
    let mut runner = Runner::new(&file.case, Rules::OURS);
    let error = runner.run(&planned, Way::Plain).err()?;
    let first = error.to_string();
    Some(first.lines().take(1).map(str::to_string).collect())
}
