//! How the events of two rule sets differ, for people and for programs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bson::{Bson, RawBson};
use changeling::event::Event;
use changeling::rules::described;
use changeling::rules::replay::{Account, Comparison, Difference, Pairing, RuleComparison};
use owo_colors::OwoColorize as _;
use serde::Serialize;
use serde_json::Value;

use super::account::Sample;
use super::progress::grouped;

/// The comparison, for programs.
#[derive(Debug, Serialize)]
pub struct ComparisonReport {
    same: bool,
    old: SideReport,
    new: SideReport,
    rules: Vec<RuleReport>,
}

#[derive(Debug, Serialize)]
struct SideReport {
    events: u64,
    dead_letters: u64,
    unmatched: u64,
    undecided: u64,
}

#[derive(Debug, Serialize)]
struct RuleReport {
    rule: String,
    same: u64,
    appeared: u64,
    vanished: u64,
    changed: u64,
    undecided: [u64; 2],
    dead_letters: [u64; 2],
    /// How often events differ at a place.
    places: BTreeMap<String, u64>,
    samples: Vec<PairReport>,
}

#[derive(Debug, Serialize)]
struct PairReport {
    what: &'static str,
    event: Sample,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<PlaceReport>,
}

#[derive(Debug, Serialize)]
struct PlaceReport {
    place: String,
    old: Option<Value>,
    new: Option<Value>,
}

impl ComparisonReport {
    /// What the comparison says.
    pub fn new(comparison: &Comparison, with_values: bool) -> Self {
        let (old, new) = comparison.accounts();
        let side = |account: &Account| SideReport {
            events: account.events_count,
            dead_letters: account.failed_count(),
            unmatched: account.unmatched_count,
            undecided: account.undecided_count,
        };
        let rules = comparison.rules().iter().map(|rule| rule_report(rule, old, new, with_values)).collect();
        Self { same: comparison.is_same(), old: side(old), new: side(new), rules }
    }
}

fn rule_report(rule: &RuleComparison, old: &Account, new: &Account, with_values: bool) -> RuleReport {
    let samples = rule.samples.iter().map(|pairing| match pairing {
        Pairing::Appeared(event) => pair_report("appeared", event, &[], with_values),
        Pairing::Vanished(event) => pair_report("vanished", event, &[], with_values),
        Pairing::Changed { new, differences } => pair_report("changed", new, differences, with_values),
    });
    let [undecided, dead_letters] = both(rule, old, new);
    RuleReport {
        rule: rule.rule.to_string(),
        same: rule.same_count,
        appeared: rule.appeared_count,
        vanished: rule.vanished_count,
        changed: rule.changed_count,
        undecided,
        dead_letters,
        places: rule.places.clone(),
        samples: samples.collect(),
    }
}

/// What of the rule was undecided, and what would be dead letters: before and after.
fn both(rule: &RuleComparison, old: &Account, new: &Account) -> [[u64; 2]; 2] {
    let counts = |account: &Account| {
        let found = account.rules.iter().find(|one| one.rule == rule.rule);
        found.map_or((0, 0), |found| (found.undecided_count(), found.failures.count))
    };
    let (old, new) = (counts(old), counts(new));
    [[old.0, new.0], [old.1, new.1]]
}

fn pair_report(what: &'static str, event: &Event, differences: &[Difference], with_values: bool) -> PairReport {
    let value = |value: &Option<RawBson>| match (value, with_values) {
        (None, _) => None,
        (Some(value), false) => Some(Value::String(described(value.as_raw_bson_ref(), false))),
        (Some(value), true) => Bson::try_from(value.clone()).ok().map(Bson::into_relaxed_extjson),
    };
    let places = differences.iter().map(|difference| PlaceReport {
        place: difference.place.clone(),
        old: value(&difference.old),
        new: value(&difference.new),
    });
    PairReport { what, event: Sample::new(event, with_values), differences: places.collect() }
}

/// The comparison, for people.
pub fn print(output: &mut impl Write, comparison: &Comparison, with_values: bool) -> io::Result<()> {
    let (old, new) = comparison.accounts();
    writeln!(output, "events: {} before, {} after", grouped(old.events_count), grouped(new.events_count))?;
    for rule in comparison.rules() {
        let [undecided, dead_letters] = both(rule, old, new);
        if rule.is_same() && undecided[0] == undecided[1] && dead_letters[0] == dead_letters[1] {
            continue;
        }
        writeln!(output, "\n{}", rule.rule.bold())?;
        print_counts(output, rule)?;
        for (what, [before, after]) in [("undecided", undecided), ("dead letters", dead_letters)] {
            if before != after {
                let told = format!("  ! {what}: {} -> {}", grouped(before), grouped(after));
                writeln!(output, "{}", told.yellow())?;
            }
        }
        for pairing in &rule.samples {
            print_pairing(output, pairing, with_values)?;
        }
    }
    match comparison.is_same() {
        true => writeln!(output, "\n{}", "the same events".green()),
        false => writeln!(output, "\n{}", "the events differ".yellow().bold()),
    }
}

fn print_counts(output: &mut impl Write, rule: &RuleComparison) -> io::Result<()> {
    if rule.same_count > 0 {
        writeln!(output, "    {} the same", grouped(rule.same_count))?;
    }
    if rule.appeared_count > 0 {
        writeln!(output, "  {}", format!("+ {} appear", grouped(rule.appeared_count)).green())?;
    }
    if rule.vanished_count > 0 {
        writeln!(output, "  {}", format!("- {} vanish", grouped(rule.vanished_count)).red())?;
    }
    if rule.changed_count > 0 {
        writeln!(output, "  {}", format!("~ {} change", grouped(rule.changed_count)).cyan())?;
        for (place, count) in &rule.places {
            writeln!(output, "      {} at {place}", grouped(*count))?;
        }
    }
    Ok(())
}

fn print_pairing(output: &mut impl Write, pairing: &Pairing, with_values: bool) -> io::Result<()> {
    let (sign, event, differences) = match pairing {
        Pairing::Appeared(event) => ("+".green().to_string(), event, [].as_slice()),
        Pairing::Vanished(event) => ("-".red().to_string(), event, [].as_slice()),
        Pairing::Changed { new, differences } => ("~".cyan().to_string(), new, differences.as_slice()),
    };
    write!(output, "    {sign} ")?;
    Sample::new(event, with_values).print(output, event, with_values)?;
    for Difference { place, old, new } in differences {
        for (sign, value) in [("-", old), ("+", new)] {
            let Some(value) = value else { continue };
            // Texts of key and subject are values too; the names of events and rules and the evidence are ours.
            let is_ours = matches!(place.as_str(), "event" | "rule" | "evidence");
            let told = described(value.as_raw_bson_ref(), with_values || is_ours);
            let line = format!("        {sign} {place}: {told}");
            match sign {
                "-" => writeln!(output, "{}", line.red())?,
                _ => writeln!(output, "{}", line.green())?,
            }
        }
    }
    Ok(())
}
