//! The report as one page of HTML that needs nothing else: no script, no network.

mod heat;
mod markup;

use std::fmt::Write as _;

use changeling::parity::{Difference, FailingShape, Tone, TypeFigures, Verdict, grouped, lag, share};

use super::advice;
use super::report::Report;
use markup::{badge, element, escaped, list};

const STYLE: &str = include_str!("page.css");

/// The page, with at most `top` differences and shapes for each type.
pub fn page(report: &Report<'_>, top: usize) -> String {
    let mut body = String::new();
    head(&mut body, report);
    tiles(&mut body, report);
    notes(&mut body, report);
    if report.summary.all() > 0 {
        section(&mut body, "types", "Types of events", &types_table(report));
    }
    if let Some(matrix) = heat::matrix(&report.figures) {
        section(&mut body, "matrix", "What rules take for what", &matrix);
    }
    for verdict in [Verdict::NeedsAnOutbox, Verdict::InferWithCare, Verdict::Unknown, Verdict::SafeToInfer] {
        details(&mut body, report, verdict, top);
    }
    not_compared(&mut body, report);
    words(&mut body);
    // Nothing is fetched, whatever the names of types and fields hold: the policy says so to the browser.
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"generator\" content=\"changeling {}\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Parity of explicit and inferred events</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn section(body: &mut String, id: &str, title: &str, content: &str) {
    // Writing to a string can not fail, here and below.
    let _ = writeln!(body, "<section id=\"{id}\">\n<h2>{title}</h2>\n{content}</section>");
}

fn head(body: &mut String, report: &Report<'_>) {
    let sides = &report.sides;
    let (explicit, inferred) = (grouped(sides.explicit_events), grouped(sides.inferred_events));
    let relays: Vec<String> = sides.relays.iter().map(|name| element("code", name)).collect();
    let _ = writeln!(
        body,
        "<header>\n<h1>Parity</h1>\n<p class=\"lead\">{explicit} explicit events of {}, compared with {inferred} events that \
         {} inferred.</p>\n<p class=\"faint\">{}</p>\n</header>",
        relays.join(", "),
        counted(sides.rule_count, "rule"),
        escaped(&report.read.in_words()),
    );
}

fn tiles(body: &mut String, report: &Report<'_>) {
    body.push_str("<ul class=\"tiles\">\n");
    for (verdict, count) in report.summary.counts() {
        let class = if count == 0 { "faint" } else { markup::class(verdict.tone()) };
        let _ = writeln!(body, "<li class=\"{class}\"><b>{count}</b> {}</li>", verdict.as_str());
    }
    body.push_str("</ul>\n");
}

fn notes(body: &mut String, report: &Report<'_>) {
    if !report.read.complete {
        body.push_str("<p class=\"note\">Not everything was read.</p>\n");
    }
    if !report.notes.is_empty() {
        let notes = report.notes.iter().map(|note| escaped(&sentence(note)));
        let _ = writeln!(body, "<div class=\"note\">\n{}</div>", list(notes));
    }
}

type Column = (&'static str, fn(&TypeFigures) -> (String, Option<Tone>));

const COLUMNS: [Column; 9] = [
    ("explicit", |one| (grouped(one.explicit_count), None)),
    ("inferred", |one| (grouped(one.inferred_count), None)),
    ("matched", |one| (grouped(one.matched_count), None)),
    ("different", |one| toned(one.different_count, Tone::Warning)),
    ("missing", |one| toned(one.missing_count, Tone::Bad)),
    ("extra", |one| toned(one.extra_count, Tone::Bad)),
    ("precision", |one| (share(one.precision), None)),
    ("recall", |one| (share(one.recall), None)),
    ("lag", |one| (lag(one.lag_ms), None)),
];

fn toned(count: u64, tone: Tone) -> (String, Option<Tone>) {
    (grouped(count), Some(if count == 0 { Tone::Faint } else { tone }))
}

fn types_table(report: &Report<'_>) -> String {
    let mut table = "<table class=\"types\">\n<thead>\n<tr><th scope=\"col\">type</th>".to_owned();
    for (heading, _) in COLUMNS {
        let _ = write!(table, "<th scope=\"col\" class=\"number\">{heading}</th>");
    }
    table.push_str("<th scope=\"col\">verdict</th></tr>\n</thead>\n<tbody>\n");
    for (number, one) in report.types().enumerate() {
        let _ = write!(table, "<tr><th scope=\"row\"><a href=\"#type-{number}\">{}</a></th>", markup::name(&one.name));
        for (heading, cell) in COLUMNS {
            let (text, tone) = cell(one);
            let class = tone.map_or("", markup::class);
            let _ = write!(table, "<td class=\"number {class}\" data-label=\"{heading}\">{text}</td>");
        }
        let _ = writeln!(table, "<td class=\"verdict\">{}</td></tr>", badge(one.judgement.verdict));
    }
    table.push_str("</tbody>\n</table>\n");
    table
}

fn details(body: &mut String, report: &Report<'_>, verdict: Verdict, top: usize) {
    let types: Vec<(usize, &TypeFigures)> =
        report.types().enumerate().filter(|(_, one)| one.judgement.verdict == verdict).collect();
    if types.is_empty() {
        return;
    }
    let mut content = format!("<p>{}</p>\n", escaped(&sentence(advice::meaning(verdict))));
    for (number, one) in types {
        let _ = writeln!(
            content,
            "<article id=\"type-{number}\">\n<h3><span>{}</span> {}</h3>",
            markup::name(&one.name),
            badge(verdict)
        );
        if !one.explicit_names.is_empty() {
            let names: Vec<String> = one.explicit_names.iter().map(|name| element("code", name)).collect();
            let _ = writeln!(content, "<p class=\"faint\">The application calls it {}.</p>", names.join(", "));
        }
        let reasons: Vec<String> = advice::reasons(one, top).map(|reason| escaped(&sentence(reason))).collect();
        if !reasons.is_empty() {
            content.push_str(&list(reasons.into_iter()));
        }
        shapes(&mut content, one, top);
        differences(&mut content, &one.differences, top);
        let _ = writeln!(
            content,
            "<p class=\"next\"><b>Next</b> {}</p>\n</article>",
            escaped(&sentence(&advice::next(one)))
        );
    }
    let title = match verdict {
        Verdict::NeedsAnOutbox => "Needs an outbox",
        Verdict::InferWithCare => "Infer with care",
        Verdict::SafeToInfer => "Safe to infer",
        Verdict::Unknown => "Too few to say",
    };
    section(body, markup::class(verdict.tone()), title, &content);
}

fn shapes(content: &mut String, one: &TypeFigures, top: usize) {
    if one.shapes.is_empty() {
        return;
    }
    content.push_str("<h4>Changes behind what has no partner</h4>\n<ul class=\"findings\">\n");
    for shape in one.shapes.iter().take(top) {
        let FailingShape { kind, shape: text, count, .. } = shape;
        let count = grouped(*count);
        let _ = write!(content, "<li><span class=\"count bad\">{count} {kind}</span> {}", element("code", text));
        if let Some(proof) = shape.proof() {
            let _ = write!(content, "<p class=\"proof\"><b>Proof</b> {}</p>", escaped(&sentence(&proof)));
        }
        content.push_str("</li>\n");
    }
    content.push_str("</ul>\n");
    more(content, one.shapes.len(), top);
}

fn differences(content: &mut String, differences: &[Difference], top: usize) {
    if differences.is_empty() {
        return;
    }
    content.push_str("<h4>What differs in pairs</h4>\n<ul class=\"findings\">\n");
    for Difference { path, what, count } in differences.iter().take(top) {
        let (count, what) = (times(*count), escaped(what));
        let _ =
            writeln!(content, "<li><span class=\"count warning\">{count}</span> {} {what}</li>", element("code", path));
    }
    content.push_str("</ul>\n");
    more(content, differences.len(), top);
}

fn more(content: &mut String, all: usize, top: usize) {
    if all > top {
        let _ = writeln!(content, "<p class=\"faint\">{} more; <code>--top</code> shows more of them.</p>", all - top);
    }
}

fn not_compared(body: &mut String, report: &Report<'_>) {
    if !report.not_compared.is_empty() {
        let names: Vec<String> = report.not_compared.iter().map(|name| element("code", name)).collect();
        let content = format!("<p>The application records none of these: {}.</p>\n", names.join(", "));
        section(body, "not-compared", "Not compared", &content);
    }
}

/// What the words mean, for who has nothing but the page.
const WORDS: [(&str, &str); 9] = [
    ("explicit", "an event that the application wrote itself: in an outbox, in its documents, or in an event store."),
    ("inferred", "an event that a rule made of a change."),
    ("matched", "both are there, with the same data."),
    ("different", "both are there, with other data."),
    ("missing", "there is an explicit event, and no rule made one."),
    ("extra", "a rule made an event, and the application wrote none."),
    ("precision", "of the inferred events, the share that is true: that has an explicit one."),
    ("recall", "of the explicit events, the share that rules found."),
    (
        "lag",
        "how much later the explicit event of a pair was committed than the inferred one; below zero if it was earlier.",
    ),
];

fn words(body: &mut String) {
    let mut content = "<dl>\n".to_owned();
    for (word, meaning) in WORDS {
        let _ = writeln!(content, "<dt>{word}</dt><dd>{meaning}</dd>");
    }
    content.push_str("</dl>\n");
    section(body, "words", "Words", &content);
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{} times", grouped(count)) }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// With a capital at the beginning and a full stop at the end, unless it begins with a name.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|one| one.to_uppercase().collect()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    let is_name = text.split_whitespace().next().is_some_and(|word| word.contains(['.', '_', ':']));
    if is_name { format!("{text}{end}") } else { format!("{first}{}{end}", letters.as_str()) }
}
