//! From the events of the YAML parser to the tree.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::{Entry, FileDiagnostics, Node, Span, Value, scalar};

/// What aliases may blow a file up to, in nodes.
const NODE_COUNT_MAX: usize = 200_000;
/// How deep collections may be nested, aliases included; the parser has the same limit for what is written.
const DEPTH_MAX: usize = 200;
/// The key that merges another mapping into this one.
const MERGE_KEY: &str = "<<";

/// Reads one YAML document. Whatever is wrong with it goes to `diagnostics`; `None` if nothing usable is left. An empty
/// file is [`Value::Null`].
///
/// Codes: `Y001` syntax, `Y002` a key twice, `Y003` a whole number outside 64 bits, `Y004` a second document, `Y005` a key
/// that is no scalar, `Y006` a tag that is not known, `Y007` an alias that can not be followed, `Y008` a merge of something
/// that is no mapping.
pub fn read(diagnostics: &mut FileDiagnostics<'_>) -> Option<Node> {
    let text = &diagnostics.file().text;
    let lines = super::lines(text);
    let mut options = granit_parser::options! { disallow_directives: false };
    options.set_emit_comments(false);
    let events = Parser::new_from_str_with_options(text, options);
    let mut builder =
        Builder { diagnostics, lines, stack: Vec::new(), anchors: HashMap::new(), root: None, node_count: 0 };
    for event in events {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                builder.syntax_error(&error);
                return None;
            }
        };
        if builder.take(event, span) == Flow::Stop {
            break;
        }
    }
    let empty = Node { span: Span::new(1, 1, 1), value: Value::Null };
    Some(builder.root.map_or(empty, |built| built.node))
}

#[derive(PartialEq, Eq)]
enum Flow {
    Go,
    Stop,
}

#[derive(Clone)]
struct Built {
    node: Node,
    /// The collections nested in it, itself included.
    depth: usize,
}

struct Open {
    span: Span,
    anchor: usize,
    depth: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        merged: Vec<Node>,
        /// No text: a key that can not be one, whose value is dropped.
        key: Option<(Option<String>, Span)>,
    },
}

struct Builder<'b, 'd> {
    diagnostics: &'b mut FileDiagnostics<'d>,
    lines: Vec<&'d str>,
    stack: Vec<Open>,
    anchors: HashMap<usize, Built>,
    root: Option<Built>,
    node_count: usize,
}

impl Builder<'_, '_> {
    fn take(&mut self, event: Event<'_>, span: granit_parser::Span) -> Flow {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                let place = self.place(&span);
                self.diagnostics
                    .error(place, "Y004", "the file holds a second YAML document")
                    .help("keep one document per file: move what follows \"---\" to a file of its own");
                return Flow::Stop;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let place = self.place_of_scalar(&span, &text, style);
                let value = self.scalar(&text, style, tag.as_deref(), place);
                self.add(Built { node: Node { span: place, value }, depth: 0 }, anchor, Some(&text));
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(&span, anchor, tag.as_deref(), "seq", Content::List(Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                let content = Content::Map { entries: Vec::new(), merged: Vec::new(), key: None };
                self.open(&span, anchor, tag.as_deref(), "map", content);
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(&span),
            Event::Alias(anchor) => return self.alias(anchor, &span),
            _ => {}
        }
        Flow::Go
    }

    fn open(&mut self, span: &granit_parser::Span, anchor: usize, tag: Option<&Tag>, own_tag: &str, content: Content) {
        let place = self.place(span);
        if let Some(tag) = tag.filter(|tag| tag.core_suffix() != Some(own_tag)) {
            self.unknown_tag(tag, place);
        }
        self.stack.push(Open { span: place, anchor, depth: 1, content });
    }

    fn close(&mut self, end: &granit_parser::Span) {
        let Some(open) = self.stack.pop() else { return };
        let mut span = open.span;
        span.length = self.length_to(span, end);
        let value = match open.content {
            Content::List(nodes) => Value::List(nodes),
            Content::Map { mut entries, merged, .. } => {
                for node in merged {
                    self.merge(&mut entries, node);
                }
                Value::Map(entries)
            }
        };
        self.add(Built { node: Node { span, value }, depth: open.depth }, open.anchor, None);
    }

    fn alias(&mut self, anchor: usize, span: &granit_parser::Span) -> Flow {
        let place = self.place(span);
        let Some(built) = self.anchors.get(&anchor).cloned() else {
            self.diagnostics
                .error(place, "Y007", "the alias stands inside of what it refers to")
                .help("an alias repeats an earlier value; write this one out");
            return Flow::Stop;
        };
        self.node_count += count(&built.node);
        if self.node_count > NODE_COUNT_MAX || built.depth + self.stack.len() > DEPTH_MAX {
            self.diagnostics
                .error(place, "Y007", "aliases make the file too large")
                .help(format!("at most {NODE_COUNT_MAX} values and {DEPTH_MAX} levels, aliases followed"));
            return Flow::Stop;
        }
        self.add(built, 0, None);
        Flow::Go
    }

    /// Puts a finished node where it belongs: as root, element, key or value.
    fn add(&mut self, built: Built, anchor: usize, key_text: Option<&str>) {
        self.node_count += 1;
        if anchor > 0 {
            self.anchors.insert(anchor, built.clone());
        }
        let Built { mut node, depth } = built;
        let Some(parent) = self.stack.last_mut() else {
            self.root = Some(Built { node, depth });
            return;
        };
        parent.depth = parent.depth.max(depth + 1);
        match &mut parent.content {
            Content::List(nodes) => nodes.push(node),
            Content::Map { key: key @ None, .. } => {
                let text = key_text.map(str::to_owned).or_else(|| node.as_text().map(str::to_owned));
                if text.is_none() {
                    self.diagnostics
                        .error(node.span, "Y005", format!("{} can not be a key", node.value.kind()))
                        .help("a key is a text; quote it if it holds braces, brackets or a colon");
                }
                *key = Some((text, node.span));
            }
            Content::Map { entries, merged, key } => {
                let Some((Some(key), key_span)) = key.take() else { return };
                if key == MERGE_KEY {
                    merged.push(node);
                    return;
                }
                // Nothing was written: the key is the best place to point at.
                if node.value == Value::Null && node.span.length <= 1 {
                    node.span = key_span;
                }
                match entries.iter().find(|entry| entry.key == key) {
                    Some(first) => {
                        let line = first.key_span.line;
                        self.diagnostics
                            .error(key_span, "Y002", format!("the key {key:?} stands twice in this mapping"))
                            .help(format!("it is already on line {line}: remove one of them"));
                    }
                    None => entries.push(Entry { key, key_span, node }),
                }
            }
        }
    }

    fn merge(&mut self, entries: &mut Vec<Entry>, node: Node) {
        let span = node.span;
        match node.value {
            Value::Map(others) => {
                for other in others {
                    if !entries.iter().any(|entry| entry.key == other.key) {
                        entries.push(other);
                    }
                }
            }
            Value::List(nodes) => {
                for node in nodes {
                    self.merge(entries, node);
                }
            }
            other => {
                self.diagnostics
                    .error(span, "Y008", format!("\"<<\" merges mappings, and this is {}", other.kind()))
                    .help("write \"<<: *anchor\", where the anchor names a mapping");
            }
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Span) -> Value {
        let plain = style == ScalarStyle::Plain;
        let resolved = match tag.map(|tag| (tag, tag.core_suffix())) {
            Some((_, Some("str"))) => return Value::Text(text.to_owned()),
            Some((_, Some("null" | "bool" | "int" | "float"))) => scalar::resolve(text),
            Some((tag, _)) => {
                self.unknown_tag(tag, place);
                return Value::Text(text.to_owned());
            }
            None if plain => scalar::resolve(text),
            None => return Value::Text(text.to_owned()),
        };
        resolved.unwrap_or_else(|| {
            self.diagnostics
                .error(place, "Y003", "the whole number does not fit into 64 bits")
                .help("quote it to make it a text, or write {$numberDecimal: \"...\"} for a decimal");
            Value::Int(0)
        })
    }

    fn unknown_tag(&mut self, tag: &Tag, place: Span) {
        self.diagnostics
            .error(place, "Y006", format!("the YAML tag \"{}\" is not known here", tag.original()))
            .help("remove it; types other than YAML's own are written as Extended JSON, for example {$oid: \"...\"}");
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let marker = error.marker();
        let place = Span::new(marker.line(), marker.col() + 1, 1);
        let info = error.info();
        let help = if info.contains("anchor") || info.contains("alias") {
            "`*` and `&` mean something to YAML at the start of a value: a text that begins with one of them needs quotes, and inside of [] and {} one with brackets, such as a JSONPath"
        } else if info.contains("mapping values") {
            "a text with a colon and a blank in it needs quotes, and so does one with brackets, braces or commas"
        } else if info.contains("tab") {
            "indent with blanks"
        } else {
            "check the indentation and the brackets here and on the line before; a text with brackets, braces or commas needs quotes"
        };
        self.diagnostics.error(place, "Y001", format!("not valid YAML: {info}")).help(help);
    }

    fn place(&self, span: &granit_parser::Span) -> Span {
        let mut place = Span::new(span.start.line(), span.start.col() + 1, 1);
        place.length = self.length_to(place, span);
        place
    }

    /// How many characters lie between the place and the end of the span, within the place's line.
    fn length_to(&self, place: Span, end: &granit_parser::Span) -> usize {
        if end.end.line() == place.line {
            return (end.end.col() + 1).saturating_sub(place.column).max(1);
        }
        let line = self.lines.get(place.line - 1).map_or("", |line| line.trim_end());
        (line.chars().count() + 1).saturating_sub(place.column).max(1)
    }

    fn place_of_scalar(&self, span: &granit_parser::Span, text: &str, style: ScalarStyle) -> Span {
        let mut place = self.place(span);
        let quote = match style {
            ScalarStyle::Plain => 0,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => 1,
            ScalarStyle::Literal | ScalarStyle::Folded => return place,
        };
        let line = self.lines.get(place.line - 1).copied().unwrap_or_default();
        let written = line.chars().skip(place.column - 1 + quote);
        if !text.is_empty() && written.take(text.chars().count()).eq(text.chars()) {
            place.quote = Some(quote);
        }
        place
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(nodes) => nodes.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|entry| count(&entry.node)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Diagnostics, SourceFile};
    use super::*;

    fn read_text(text: &str) -> (Option<Node>, Diagnostics) {
        let file = SourceFile { name: "file.yaml".to_owned(), text: text.to_owned() };
        let mut diagnostics = Diagnostics::default();
        let node = read(&mut diagnostics.of(&file));
        (node, diagnostics)
    }

    fn good(text: &str) -> Node {
        let (node, diagnostics) = read_text(text);
        assert!(diagnostics.is_empty(), "{}", diagnostics.render());
        node.unwrap()
    }

    fn codes(text: &str) -> Vec<(&'static str, usize, usize, usize)> {
        read_text(text).1.iter().map(|one| (one.code, one.line, one.column, one.length)).collect()
    }

    fn place(span: Span) -> (usize, usize, usize) {
        (span.line, span.column, span.length)
    }

    #[test]
    fn every_value_knows_where_it_stands() {
        let node = good("# head\nname: shop\nlist:\n  - {ä: \"b c\", d: 1}\n  - [x, y]\nempty:\n");
        assert_eq!(place(node.entry("name").unwrap().key_span), (2, 1, 4));
        assert_eq!(place(node.get("name").unwrap().span), (2, 7, 4));
        let list = node.get("list").unwrap().as_list().unwrap();
        assert_eq!(place(list[0].span), (4, 5, 16));
        assert_eq!(place(list[0].get("ä").unwrap().span), (4, 9, 5));
        assert_eq!(place(list[0].get("d").unwrap().span), (4, 19, 1));
        assert_eq!(place(list[1].span), (5, 5, 6));
        assert_eq!(place(node.get("empty").unwrap().span), (6, 1, 5));
        assert_eq!(list[0].get("d").unwrap().value, Value::Int(1));
    }

    #[test]
    fn a_block_collection_is_shown_by_its_first_line() {
        let node = good("rules:\n  - event: A\n    on: insert\n  - event: B\n");
        let rules = node.get("rules").unwrap().as_list().unwrap();
        assert_eq!(place(rules[0].span), (2, 5, 8));
        assert_eq!(place(rules[1].span), (4, 5, 8));
    }

    #[test]
    fn a_part_of_a_text_has_its_own_place() {
        let node = good("a: $.after.x\nb: \"$.after.x\"\nc: \"a\\tb\"\nd: 'x'\n");
        let part = |key: &str, offset| place(node.get(key).unwrap().span.part(offset));
        assert_eq!(part("a", 2), (1, 6, 7));
        assert_eq!(part("b", 2), (2, 7, 7));
        assert_eq!(part("b", 99), (2, 14, 1));
        assert_eq!(part("c", 1), (3, 4, 6));
        assert_eq!(part("d", 0), (4, 5, 1));
    }

    #[test]
    fn quotes_and_core_tags_decide_the_type() {
        let node = good("a: '1'\nb: !!str 1\nc: |\n  text\nd: !!int \"7\"\n1: x\n");
        let text = |key: &str| node.get(key).and_then(Node::as_text);
        assert_eq!((text("a"), text("b"), text("c"), text("1")), (Some("1"), Some("1"), Some("text\n"), Some("x")));
        assert_eq!(node.get("d").and_then(Node::as_int), Some(7));
    }

    #[test]
    fn aliases_and_merges_are_followed() {
        let node = good("base: &base {a: 1, b: 2}\nother: *base\nmerged: {<<: *base, b: 3}\n");
        assert_eq!(node.get("other"), node.get("base"));
        assert_eq!(node.get("merged").unwrap().to_json(), serde_json::json!({"b": 3, "a": 1}));
    }

    #[test]
    fn every_problem_has_a_code_and_a_place() {
        assert_eq!(codes("a: 1\nb: 2\na: 3\nb: 4\n"), [("Y002", 3, 1, 1), ("Y002", 4, 1, 1)]);
        assert_eq!(codes("a: 9223372036854775808\n"), [("Y003", 1, 4, 19)]);
        assert_eq!(codes("a: 1\n---\nb: 2\n"), [("Y004", 2, 1, 3)]);
        assert_eq!(codes("{[a]: 1}\n"), [("Y005", 1, 2, 3)]);
        assert_eq!(codes("a: !secret x\n"), [("Y006", 1, 12, 1)]);
        assert_eq!(codes("a: &a [*a]\n"), [("Y007", 1, 8, 2)]);
        assert_eq!(codes("a: {<<: 1}\n"), [("Y008", 1, 9, 1)]);
        assert_eq!(codes("a: {b: 1\nc: 2\n").iter().map(|code| code.0).collect::<Vec<_>>(), ["Y001"]);
        assert_eq!(codes("a: *b\n").iter().map(|code| code.0).collect::<Vec<_>>(), ["Y001"]);
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_before_it_goes_off() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", "));
        }
        assert_eq!(codes(&text).iter().map(|code| code.0).collect::<Vec<_>>(), ["Y007"]);
        let mut deep = "a0: &a0 [x]\n".to_owned();
        for level in 1..300 {
            deep += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
        }
        assert_eq!(codes(&deep).iter().map(|code| code.0).collect::<Vec<_>>(), ["Y007"]);
    }

    #[test]
    fn an_empty_file_is_null() {
        assert_eq!(good("").value, Value::Null);
        assert_eq!(good("# only a comment\n").value, Value::Null);
    }
}
