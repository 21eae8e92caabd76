//! The page about the limits of triggers shows what the scenarios really give, played on a real MongoDB.
//! `CHANGELING_UPDATE=1 cargo test --test it limitations::` writes what comes out; read the diff before keeping it.

#[path = "../../examples/limitations/page.rs"]
mod page;
#[path = "../../examples/limitations/scenario.rs"]
mod scenario;
#[path = "../../examples/limitations/stage.rs"]
mod stage;
#[path = "../../examples/limitations/witness.rs"]
mod witness;

use std::fs;
use std::path::Path;

use changeling::config;
use changeling::parity::Verdict;
use changeling::yaml::SourceFile;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The page with what scenarios give between its fences; what has no place in it is told.
fn filled(page: &str, outputs: &[(String, String)]) -> (String, Vec<String>) {
    let (mut page, mut homeless) = (page.to_owned(), Vec::new());
    for (name, output) in outputs {
        let start = format!("<!-- scenario: {name} -->\n```text\n");
        let block = page.find(&start).map(|found| found + start.len());
        let Some((from, length)) = block.and_then(|from| Some((from, page[from..].find("```\n")?))) else {
            homeless.push(format!("the scenario {name} has no place in the page: {start}```"));
            continue;
        };
        page.replace_range(from..from + length, output);
    }
    (page, homeless)
}

#[tokio::test]
async fn the_page_shows_what_every_scenario_gives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/triggers-or-outbox.md");
    let page = fs::read_to_string(&path).unwrap();
    let scenarios = scenario::all().unwrap();
    assert!(scenarios.len() >= 12, "only {} scenarios", scenarios.len());
    let stage = stage::Stage::start().await.unwrap();
    let (mut outputs, mut verdicts) = (Vec::new(), Vec::new());
    for scenario in &scenarios {
        let story = stage.play(scenario).await.unwrap();
        outputs.push((scenario.name.clone(), page::render(scenario, &story)));
        verdicts.extend(story.figures.types.iter().map(|one| one.judgement.verdict));
    }
    let (expected, homeless) = filled(&page, &outputs);
    assert!(homeless.is_empty(), "{}", homeless.join("\n"));
    for verdict in [Verdict::SafeToInfer, Verdict::InferWithCare, Verdict::NeedsAnOutbox] {
        assert!(verdicts.contains(&verdict), "no scenario comes to {verdict:?}");
    }
    if std::env::var_os("CHANGELING_UPDATE").is_some() {
        fs::write(&path, expected).unwrap();
        return;
    }
    let differs = page.lines().zip(expected.lines()).find(|(shown, given)| shown != given);
    assert!(page == expected, "the page shows something else, from here on: {differs:#?}");
}

#[test]
fn the_configuration_on_the_page_can_be_used() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(folder.join("docs/triggers-or-outbox.md")).unwrap();
    let start = "```yaml\n# changeling.yaml\n";
    let text = page.split(start).nth(1).and_then(|rest| rest.split("```").next()).expect("the page has one");
    let file = SourceFile { name: "changeling.yaml".to_owned(), text: text.to_owned() };
    let reading = config::read_text(&file, folder);
    assert!(reading.diagnostics.is_empty(), "{}", reading.diagnostics.render());
}

#[test]
fn a_scenario_that_is_not_there_is_told_with_a_hint() {
    let error = |name: &str| scenario::chosen(scenario::all().unwrap(), &[name.to_owned()]).unwrap_err().to_string();
    assert!(error("same-dif").ends_with("help: did you mean \"same-diff\"?"), "{}", error("same-dif"));
    assert!(error("everything").contains("--list"));
    let chosen = scenario::chosen(scenario::all().unwrap(), &["ttl-delete".to_owned()]).unwrap();
    assert_eq!(chosen.iter().map(|scenario| scenario.name.as_str()).collect::<Vec<_>>(), ["ttl-delete"]);
}
