//! What every benchmark does around its measuring: asks for the live switch, names its lab, takes it down, prints.

use anyhow::{Result, ensure};
use clusterctl_lab::Lab;
use serde_json::Value;

/// Measures on a lab of this name, which goes afterwards unless it is kept; then the table for people and, as the last line, the
/// document.
pub fn run(bench: &str, keep: bool, measure: impl FnOnce(&str) -> Result<(String, Value)>) -> Result<()> {
    ensure!(
        std::env::var("CLUSTERCTL_LIVE").is_ok_and(|value| value == "1"),
        "run it as `cargo lab bench {bench}`: it needs root and makes labs of its own"
    );
    let lab = std::env::var("CLUSTERCTL_LAB_NAME").unwrap_or_else(|_| "test".to_owned());
    let name = format!("{lab}-bench");
    let measured = measure(&name);
    if !keep {
        Lab::down(&name)?;
    }
    let (table, document) = measured?;
    print!("{table}");
    println!("{document}");
    Ok(())
}
