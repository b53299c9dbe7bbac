//! `cargo lab mutants`: plants faults one at a time in a copy of the tree, and fails if the tests do not find one of them.
//!
//! Called by `cli`. Each `tests/mutants/NAME.patch` breaks one rule and names the command that is expected to fail. First every such
//! command must pass on the tree as it is: otherwise its failure would prove nothing. It must never change the repository itself.

mod patch;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cargo_test::{Built, CargoTest, Ended};
use crate::error::hinted;
use crate::packages::{repository, target_folder};

use patch::Mutant;
use tree::Tree;

/// The shortest time limit of a test command.
const SHORTEST: Duration = Duration::from_secs(60);

/// What became of a mutant.
enum Fate {
    /// The tests found it: the one that failed, or that they did not end.
    Found(String),
    /// Its tests passed.
    Survived,
    /// Its patch does not fit the tree.
    Inapplicable(String),
    /// With it the tree does not build, so no test has judged it.
    Unbuildable(String),
}

/// Everything that one run needs.
struct Bench {
    tree: Tree,
    target: PathBuf,
    logs: PathBuf,
}

/// Prints the planted faults.
pub(crate) fn list() -> Result<u8> {
    for mutant in load(&[])? {
        println!(
            "{:<32} {}\n{:<32}   {}",
            mutant.name, mutant.rule, "", mutant.found_by.text
        );
    }
    Ok(0)
}

/// Tries the named ones, or all; answers 0 if the tests found every one.
pub(crate) fn run(only: &[String]) -> Result<u8> {
    let start = Instant::now();
    let mutants = load(only)?;
    let folder = target_folder()?.join("mutants");
    let bench = Bench {
        tree: Tree::copy(&repository()?, folder.join("tree"))?,
        target: folder.join("target"),
        logs: folder.join("logs"),
    };
    fs::create_dir_all(&bench.logs)?;
    let limits = bench.baseline(&mutants)?;
    println!("{:<26} {:<78} {:>7}  FOUND BY", "NAME", "RULE", "SECONDS");
    let mut missed = Vec::new();
    for mutant in &mutants {
        let begun = Instant::now();
        let limit = limits.get(&mutant.found_by).copied().unwrap_or(SHORTEST);
        let fate = bench.plant(mutant, limit)?;
        let found_by = match &fate {
            Fate::Found(test) => test.clone(),
            Fate::Survived => "NOTHING: it survived".to_owned(),
            Fate::Inapplicable(_) => "NOTHING: the patch no longer applies".to_owned(),
            Fate::Unbuildable(_) => "NOTHING: it does not build".to_owned(),
        };
        let seconds = begun.elapsed().as_secs_f32();
        println!("{:<26} {:<78} {seconds:>7.1}  {found_by}", mutant.name, mutant.rule);
        match fate {
            Fate::Found(_) => continue,
            Fate::Survived => eprintln!("    `{}` passes with the fault", mutant.found_by.text),
            Fate::Inapplicable(why) | Fate::Unbuildable(why) => eprintln!("    {}", why.trim().replace('\n', "\n    ")),
        }
        missed.push(mutant.name.as_str());
    }
    let (all, found) = (mutants.len(), mutants.len() - missed.len());
    let seconds = start.elapsed().as_secs_f32();
    if missed.is_empty() {
        println!("{found} of {all} planted faults found, {seconds:.0} s");
        return Ok(0);
    }
    println!(
        "{found} of {all} planted faults found, {seconds:.0} s; not: {}",
        missed.join(" ")
    );
    Ok(1)
}

impl Bench {
    /// Every command on the tree as it is: it must pass and run at least one test. Answers the time limit of each.
    fn baseline(&self, mutants: &[Mutant]) -> Result<BTreeMap<CargoTest, Duration>> {
        let (mut built, mut limits) = (BTreeMap::new(), BTreeMap::new());
        eprintln!("==> the tests must pass without a fault");
        for command in mutants.iter().map(|mutant| &mutant.found_by) {
            if limits.contains_key(command) {
                continue;
            }
            if !built.contains_key(&command.build) {
                match command.build(&self.tree.root, Some(&self.target))? {
                    Built::Programs(programs) => built.insert(command.build.clone(), programs),
                    Built::Broken(why) => anyhow::bail!("`{}` does not build without a fault:\n{why}", command.text),
                };
            }
            let programs = built.get(&command.build).map(Vec::as_slice).unwrap_or_default();
            let begun = Instant::now();
            let log = self.logs.join("without-a-fault.log");
            let ended = command.run(programs, Duration::from_secs(1800), &log)?;
            ensure!(
                matches!(ended, Ended::Passed(passed) if passed > 0),
                hinted(
                    format!(
                        "`{}` proves nothing: without a fault it ended with {ended:?}",
                        command.text
                    ),
                    format!("what it printed: {}", log.display())
                )
            );
            limits.insert(command.clone(), SHORTEST.max(begun.elapsed() * 5));
        }
        Ok(limits)
    }

    fn plant(&self, mutant: &Mutant, limit: Duration) -> Result<Fate> {
        let planted = match mutant.apply(|path| self.tree.read(path)) {
            Ok(planted) => planted,
            Err(error) => return Ok(Fate::Inapplicable(format!("{error:#}"))),
        };
        let paths = planted.keys();
        let before = paths
            .map(|path| Ok((path.clone(), self.tree.read(path)?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        write_all(&self.tree, &planted)?;
        let fate = self.judge(mutant, limit);
        write_all(&self.tree, &before)?;
        fate
    }

    fn judge(&self, mutant: &Mutant, limit: Duration) -> Result<Fate> {
        let programs = match mutant.found_by.build(&self.tree.root, Some(&self.target))? {
            Built::Programs(programs) => programs,
            Built::Broken(why) => return Ok(Fate::Unbuildable(why)),
        };
        let log = self.logs.join(format!("{}.log", mutant.name));
        Ok(match mutant.found_by.run(&programs, limit, &log)? {
            Ended::Passed(_) => Fate::Survived,
            Ended::Failed(test) => Fate::Found(test.unwrap_or_else(|| "the test program died".to_owned())),
            Ended::TimedOut => Fate::Found(format!("no end within {} s", limit.as_secs())),
        })
    }
}

fn write_all(tree: &Tree, files: &BTreeMap<String, String>) -> Result<()> {
    files.iter().try_for_each(|(path, text)| tree.write(path, text))
}

/// The mutants with these names, or all; those of one package stand together, so that each package builds in a row.
fn load(only: &[String]) -> Result<Vec<Mutant>> {
    let folder = repository()?.join("tests/mutants");
    let mut mutants = read_folder(&folder)?;
    if let Some(unknown) = only
        .iter()
        .find(|name| mutants.iter().all(|mutant| mutant.name != **name))
    {
        return Err(hinted(
            format!("there is no {}/{unknown}.patch", folder.display()),
            "cargo lab mutants --list",
        ));
    }
    mutants.retain(|mutant| only.is_empty() || only.contains(&mutant.name));
    mutants.sort_by(|a, b| (&a.found_by.package, &a.name).cmp(&(&b.found_by.package, &b.name)));
    Ok(mutants)
}

fn read_folder(folder: &Path) -> Result<Vec<Mutant>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut mutants = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            mutants.push(Mutant::parse(&name, &fs::read_to_string(&path)?)?);
        }
    }
    Ok(mutants)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cheap enough for every `cargo test`: a change of the tree that takes a mutant's place away is seen at once.
    #[test]
    fn every_planted_fault_fits_the_tree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mutants = read_folder(&root.join("tests/mutants")).unwrap();
        assert!(!mutants.is_empty());
        let wrong: Vec<_> = mutants
            .iter()
            .filter_map(|mutant| {
                let read = |path: &str| Ok(fs::read_to_string(root.join(path))?);
                let error = mutant.apply(read).err()?;
                Some(format!("{}: {error:#}", mutant.name))
            })
            .collect();
        assert!(wrong.is_empty(), "planted faults that no longer apply: {wrong:#?}");
    }
}
