//! From the parser's tree to our own: what the RFC's rules on types forbid is refused, patterns are compiled.

use bson::RawBson;
use jsonpath_rust::parser::errors::JsonPathError;
use jsonpath_rust::parser::{model, parse_json_path};
use pest::error::InputLocation;

use super::pattern::regular_expression;
use super::tree::{Condition, Nodes, Operand, Order, Pattern, Segment, Selector, Start};
use super::{Query, Root, scan};
use crate::rules::LanguageError;
use crate::rules::path::{Path, Step};

const SYNTAX: &str = "R020";
const FUNCTION: &str = "R026";

/// What may follow `$`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// The roots of a change.
    OfAChange,
    /// Those, and the roots of an element of an array.
    OfAnElement,
    /// Anything: `$` is a document.
    AnyDocument,
}

pub(super) fn query(text: &str, roots: Roots) -> Result<Query, LanguageError> {
    scan::check(text, roots)?;
    let parsed = parse_json_path(text).map_err(|error| from_parser(text, error))?;
    let compile = Compile { text, roots };
    let nodes = compile.absolute(&parsed.segments)?;
    let Start::Root(root) = nodes.start else { return Err(compile.refuse("", SYNTAX, "a JSONPath starts with $", "")) };
    Ok(Query { text: text.to_owned(), root, path: nodes.path, rest: nodes.rest })
}

fn from_parser(text: &str, error: JsonPathError) -> LanguageError {
    // Beyond the grammar, the parser itself refuses only a wrong use of functions.
    if !matches!(
        error,
        JsonPathError::PestError(_) | JsonPathError::InvalidNumber(_) | JsonPathError::MaxNestingDepthExceeded(_)
    ) && let Some(byte) = text.find("match(").or_else(|| text.find("search("))
    {
        let offset = text[..byte].chars().count();
        return LanguageError::new(
            offset,
            FUNCTION,
            "`match` and `search` give no value to compare",
            "use them alone, as a condition",
        );
    }
    let (byte, message) = match &error {
        JsonPathError::PestError(error) => {
            let byte = match error.location {
                InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
            };
            let ends = byte >= text.len();
            (byte, if ends { "the JSONPath ends too early" } else { "the JSONPath cannot be read from here on" })
        }
        JsonPathError::MaxNestingDepthExceeded(_) => (0, "the JSONPath is nested too deeply"),
        JsonPathError::InvalidNumber(_) => (0, "a number in the JSONPath cannot be read"),
        _ => (0, "the JSONPath cannot be read"),
    };
    let offset = text.get(..byte).map_or(0, |before| before.chars().count());
    LanguageError::new(
        offset,
        SYNTAX,
        message,
        "the syntax is that of RFC 9535, for example `$.after.items[?@.qty > 10].sku`",
    )
}

struct Compile<'t> {
    text: &'t str,
    roots: Roots,
}

type Compiled<T> = Result<T, LanguageError>;

impl Compile<'_> {
    /// An error at the first place of `near` in the text.
    fn refuse(&self, near: &str, code: &'static str, message: &str, help: &str) -> LanguageError {
        let byte = self.text.find(near).unwrap_or(0);
        LanguageError::new(self.text[..byte].chars().count(), code, message, help)
    }

    fn absolute(&self, segments: &[model::Segment]) -> Compiled<Nodes> {
        if self.roots == Roots::AnyDocument || segments.is_empty() {
            return self.nodes(Start::Root(Root::Whole), segments);
        }
        let named = match &segments[0] {
            model::Segment::Selector(model::Selector::Name(name)) => Root::of_name(name),
            _ => None,
        };
        let help = "name one after $: before, after, key, change or meta";
        let root = named
            .ok_or_else(|| self.refuse("$", "R021", "the JSONPath does not say which root it starts from", help))?;
        self.nodes(Start::Root(root), &segments[1..])
    }

    fn nodes(&self, start: Start, segments: &[model::Segment]) -> Compiled<Nodes> {
        let step = |segment: &model::Segment| match segment {
            model::Segment::Selector(model::Selector::Name(name)) => Some(Step::name(name)),
            model::Segment::Selector(model::Selector::Index(index)) => usize::try_from(*index).ok().map(Step::index),
            _ => None,
        };
        let steps: Vec<Step> = segments.iter().map_while(step).collect();
        let rest = segments[steps.len()..].iter().map(|segment| self.segment(segment)).collect::<Compiled<_>>()?;
        Ok(Nodes { start, path: Path::new(steps), rest })
    }

    fn segment(&self, segment: &model::Segment) -> Compiled<Segment> {
        match segment {
            model::Segment::Selector(selector) => Ok(Segment::Child(vec![self.selector(selector)?])),
            model::Segment::Selectors(selectors) => Ok(Segment::Child(self.selectors(selectors)?)),
            model::Segment::Descendant(inner) => match &**inner {
                model::Segment::Selector(selector) => Ok(Segment::Descendant(vec![self.selector(selector)?])),
                model::Segment::Selectors(selectors) => Ok(Segment::Descendant(self.selectors(selectors)?)),
                model::Segment::Descendant(_) => {
                    Err(self.refuse("..", SYNTAX, "the JSONPath descends twice at one place", "write `..name`"))
                }
            },
        }
    }

    fn selectors(&self, selectors: &[model::Selector]) -> Compiled<Vec<Selector>> {
        selectors.iter().map(|selector| self.selector(selector)).collect()
    }

    fn selector(&self, selector: &model::Selector) -> Compiled<Selector> {
        Ok(match selector {
            model::Selector::Name(name) => Selector::Name(name.clone()),
            model::Selector::Wildcard => Selector::Wildcard,
            model::Selector::Index(index) => Selector::Index(*index),
            model::Selector::Slice(start, end, step) => {
                Selector::Slice { start: *start, end: *end, step: step.unwrap_or(1) }
            }
            model::Selector::Filter(filter) => Selector::Filter(self.filter(filter)?),
        })
    }

    fn filter(&self, filter: &model::Filter) -> Compiled<Condition> {
        let all =
            |filters: &[model::Filter]| filters.iter().map(|filter| self.filter(filter)).collect::<Compiled<Vec<_>>>();
        match filter {
            model::Filter::Or(filters) => Ok(Condition::Or(all(filters)?)),
            model::Filter::And(filters) => Ok(Condition::And(all(filters)?)),
            model::Filter::Atom(model::FilterAtom::Filter { expr, not }) => Ok(negated(self.filter(expr)?, *not)),
            model::Filter::Atom(model::FilterAtom::Test { expr, not }) => Ok(negated(self.test(expr)?, *not)),
            model::Filter::Atom(model::FilterAtom::Comparison(comparison)) => self.comparison(comparison),
        }
    }

    fn test(&self, test: &model::Test) -> Compiled<Condition> {
        let function = match test {
            model::Test::RelQuery(segments) => return Ok(Condition::Exists(self.nodes(Start::Current, segments)?)),
            model::Test::AbsQuery(query) => return Ok(Condition::Exists(self.absolute(&query.segments)?)),
            model::Test::Function(function) => &**function,
        };
        let (text, pattern, whole) = match function {
            model::TestFunction::Match(text, pattern) => (text, pattern, true),
            model::TestFunction::Search(text, pattern) => (text, pattern, false),
            other => {
                let name = name_of(other);
                let help = format!("compare its result, for example `{name}(@.x) > 0`");
                return Err(self.refuse(name, FUNCTION, &format!("`{name}` alone is no condition"), &help));
            }
        };
        Ok(Condition::Matches {
            text: self.value_argument(text, function)?,
            pattern: self.pattern(pattern, function, whole)?,
            whole,
        })
    }

    fn pattern(&self, argument: &model::FnArg, function: &model::TestFunction, whole: bool) -> Compiled<Pattern> {
        let model::FnArg::Literal(model::Literal::String(text)) = argument else {
            return Ok(Pattern::Read(self.value_argument(argument, function)?));
        };
        match regular_expression(text, whole) {
            Some(regex) => Ok(Pattern::Fixed(regex)),
            None => Err(self.refuse(
                name_of(function),
                FUNCTION,
                "the regular expression does not compile",
                "the syntax is that of RFC 9485, for example `'^[A-Z]{2}[0-9]+$'`",
            )),
        }
    }

    fn comparison(&self, comparison: &model::Comparison) -> Compiled<Condition> {
        let order = match comparison {
            model::Comparison::Eq(..) => Order::Equal,
            model::Comparison::Ne(..) => Order::NotEqual,
            model::Comparison::Gt(..) => Order::Greater,
            model::Comparison::Gte(..) => Order::GreaterOrEqual,
            model::Comparison::Lt(..) => Order::Less,
            model::Comparison::Lte(..) => Order::LessOrEqual,
        };
        let (left, right) = comparison.vals();
        Ok(Condition::Compare(order, self.comparable(left)?, self.comparable(right)?))
    }

    fn comparable(&self, comparable: &model::Comparable) -> Compiled<Operand> {
        match comparable {
            model::Comparable::Literal(literal) => Ok(Operand::Literal(value(literal))),
            model::Comparable::Function(function) => self.function(function),
            model::Comparable::SingularQuery(model::SingularQuery::Current(steps)) => {
                Ok(Operand::Node(self.nodes(Start::Current, &as_segments(steps))?))
            }
            model::Comparable::SingularQuery(model::SingularQuery::Root(steps)) => {
                Ok(Operand::Node(self.absolute(&as_segments(steps))?))
            }
        }
    }

    fn function(&self, function: &model::TestFunction) -> Compiled<Operand> {
        match function {
            model::TestFunction::Length(argument) => {
                Ok(Operand::Length(Box::new(self.value_argument(argument, function)?)))
            }
            model::TestFunction::Count(argument) => Ok(Operand::Count(self.nodes_argument(argument, function)?)),
            model::TestFunction::Value(argument) => Ok(Operand::Value(self.nodes_argument(argument, function)?)),
            model::TestFunction::Search(..) | model::TestFunction::Match(..) | model::TestFunction::Custom(..) => {
                let name = name_of(function);
                Err(self.refuse(
                    name,
                    FUNCTION,
                    &format!("`{name}` gives no value to compare"),
                    "use it alone, as a condition",
                ))
            }
        }
    }

    fn nodes_argument(&self, argument: &model::FnArg, function: &model::TestFunction) -> Compiled<Nodes> {
        match argument {
            model::FnArg::Test(test) => match &**test {
                model::Test::RelQuery(segments) => return self.nodes(Start::Current, segments),
                model::Test::AbsQuery(query) => return self.absolute(&query.segments),
                model::Test::Function(_) => {}
            },
            model::FnArg::Literal(_) | model::FnArg::Filter(_) => {}
        }
        let name = name_of(function);
        Err(self.refuse(name, FUNCTION, &format!("`{name}` takes a query"), &format!("write `{name}(@.items[*])`")))
    }

    fn value_argument(&self, argument: &model::FnArg, function: &model::TestFunction) -> Compiled<Operand> {
        if let model::FnArg::Literal(literal) = argument {
            return Ok(Operand::Literal(value(literal)));
        }
        if let model::FnArg::Test(test) = argument
            && let model::Test::Function(inner) = &**test
        {
            return self.function(inner);
        }
        let nodes = self.nodes_argument(argument, function)?;
        if nodes.is_singular() {
            return Ok(Operand::Node(nodes));
        }
        let name = name_of(function);
        let help = format!("write `{name}(@.x)`, or count nodes with `count(@.x[*])`");
        Err(self.refuse(name, FUNCTION, &format!("`{name}` takes a query that selects one node"), &help))
    }
}

fn negated(condition: Condition, not: bool) -> Condition {
    if not { Condition::Not(Box::new(condition)) } else { condition }
}

fn name_of(function: &model::TestFunction) -> &str {
    match function {
        model::TestFunction::Custom(name, _) => name,
        model::TestFunction::Length(_) => "length",
        model::TestFunction::Value(_) => "value",
        model::TestFunction::Count(_) => "count",
        model::TestFunction::Search(..) => "search",
        model::TestFunction::Match(..) => "match",
    }
}

fn as_segments(steps: &[model::SingularQuerySegment]) -> Vec<model::Segment> {
    let segment = |step: &model::SingularQuerySegment| {
        model::Segment::Selector(match step {
            model::SingularQuerySegment::Index(index) => model::Selector::Index(*index),
            model::SingularQuerySegment::Name(name) => model::Selector::Name(name.clone()),
        })
    };
    steps.iter().map(segment).collect()
}

fn value(literal: &model::Literal) -> RawBson {
    match literal {
        model::Literal::Int(number) => RawBson::Int64(*number),
        model::Literal::Float(number) => RawBson::Double(*number),
        model::Literal::String(text) => RawBson::String(text.clone()),
        model::Literal::Bool(truth) => RawBson::Boolean(*truth),
        model::Literal::Null => RawBson::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rfc_9535_allows_is_read() {
        for text in [
            "$",
            "$.after",
            "$.after.status",
            "$['after']['a b']",
            "$.after.items[0].sku",
            "$.after.items[-1]",
            "$.after.items[*].price",
            "$.after.items[?@.qty > 10].sku",
            "$.after..sku",
            "$.after.items[1:3]",
            "$.after.a['b','c']",
            "$.after.*",
            "$.after .a",
            "$.after.items[?@.a == 'x' || !(@.b != \"y z\" && @.c)]",
            "$.after.x[?length(@.name) >= 3]",
            "$.after.x[?match(@.a, 'a.c')]",
            "$.after.x[?count(@.y[*]) == 2]",
            "$.after.x[?@.sku == $.key._id]",
            "$.after.x[?@.a == -1.5e+3]",
            "$.after.größe",
            "$.meta.transaction",
            "$.change.updated['a.b']",
            "$.after.x[?value(@..y) == null]",
            "$.after.x[? @.a==true ]",
            "$.after..[0]",
            "$.after.x[?@.y in_]",
        ] {
            let result = Query::parse(text);
            assert_eq!(result.is_ok(), !text.contains(" in_"), "{text}: {result:?}");
        }
    }

    #[test]
    fn a_bad_query_says_where_and_what_to_write() {
        for (text, offset, code, help) in [
            ("", 0, "R020", "start with a root"),
            ("status", 0, "R020", "write `$.after.status`"),
            ("$.after.a b", 9, "R020", "write `['a b']`"),
            ("$.after.a[?@.b in ['x','y']]", 14, "R020", "JSONPath has no `in`; write `@.b == 'x' || @.b == 'y'`"),
            ("$.after.a[?@.b = 1]", 15, "R020", "write `==`"),
            ("$.after.a[?@.b == paid]", 18, "R020", "write `'paid'`"),
            ("$.after.a[?@.b == 1 and @.c]", 20, "R020", "write `&&`"),
            ("$.after.first-name", 13, "R020", "write `['first-name']`"),
            ("$.after.items.0", 13, "R020", "write `[0]`"),
            ("$.after.", 7, "R020", "remove it"),
            ("$.after. a", 8, "R020", "remove the blank"),
            ("$.after.a ", 9, "R020", "remove it"),
            ("$.after.a['x]", 10, "R020", "close it"),
            ("$.after.a[]", 10, "R020", "write `[*]`"),
            ("$.after.a[?(@.b)", 9, "R020", "the [ is not closed"),
            ("$.after.a[?(@.b]", 11, "R020", "the ( is not closed"),
            ("$.after.a)", 9, "R020", "closes nothing"),
            ("$.after.a[?@.b ==]", 17, "R020", "RFC 9535"),
            ("$.after.a[?@.b == 9007199254740993]", 18, "R020", "matcher"),
            ("$.afer.status", 2, "R021", "did you mean `$.after`?"),
            ("$.status", 2, "R021", "write `$.after.status`"),
            ("$['befor'].x", 3, "R021", "did you mean `$.before`?"),
            ("$..sku", 1, "R021", "name one after $"),
            ("$.*", 1, "R021", "name one after $"),
            ("$.item.sku", 2, "R022", "$.after.items[*]"),
            ("$.after.a[?@.x == $.befor.y]", 20, "R021", "did you mean `$.before`?"),
            ("$.after.a[?lenght(@.b) > 1]", 11, "R026", "did you mean `length`?"),
            ("$.after.a[?in(@.b, $.after.c)]", 11, "R026", "the functions are"),
            ("$.after.a.length()", 10, "R026", "length(@.x)"),
            ("$.after.a[?length(@.b)]", 11, "R026", "compare its result"),
            ("$.after.a[?match(@.b, '(')]", 11, "R026", "RFC 9485"),
            ("$.after.a[?match(@.b, 'x') == true]", 11, "R026", "use them alone"),
            ("$.after.a[?length(@.b[*]) > 1]", 11, "R026", "selects one node, or"),
        ] {
            let error = Query::parse(text).map(|query| format!("{query:?}")).unwrap_err();
            assert_eq!((error.offset, error.code), (offset, code), "{text}: {error} {:?}", error.help);
            let whole = format!("{} {}", error.message, error.help.clone().unwrap_or_default());
            let wanted = help.split(", or").next().unwrap_or_default();
            assert!(whole.contains(wanted), "{text}: {error} {:?}", error.help);
        }
    }

    const FORBIDDEN: [&str; 69] = [
        "$.after[01]",
        "$.after[-0]",
        "$.after[- 1]",
        "$.after[1 0]",
        "$.after[1.0]",
        "$.after[9007199254740992]",
        "$.after[a]",
        "$.after[@.a]",
        "$.after[$.key]",
        "$.after[,]",
        "$.after['a',]",
        "$.after['a' 'b']",
        "$.after['a\tb']",
        "$.after['\\x']",
        "$.after['\\\"']",
        "$.after['\\u12']",
        "$.after['\\uD800']",
        "$.after.'a'",
        "$.after.[\"a\"]",
        "$.after...a",
        "$.after.a..",
        "$.after.. a",
        "$.after. *",
        "$.after.&",
        "$.after.$",
        "$.after[?]",
        "$.after[?true]",
        "$.after[?'a']",
        "$.after[?1]",
        "$.after[?@.a == 01]",
        "$.after[?@.a == 1.]",
        "$.after[?@.a == .5]",
        "$.after[?@.a == +1]",
        "$.after[?@.a == 1e]",
        "$.after[?@.a == 1 .5]",
        "$.after[?@.a == TRUE]",
        "$.after[?@.a == {}]",
        "$.after[?@.a == [1]]",
        "$.after[?@.a == @.b[*]]",
        "$.after[?@..a == 1]",
        "$.after[?@['a','b'] == 1]",
        "$.after[?@.a == 1 == 2]",
        "$.after[?(@.a) == 1]",
        "$.after[?!@.a == 1]",
        "$.after[?@.a === 1]",
        "$.after[?@.a & @.b]",
        "$.after[?@.a | @.b]",
        "$.after[?@.a = = 1]",
        "$.after[?@.a == 'it's']",
        "$.after[?@.price * 2 > 3]",
        "$.after[?@.a - 1 > 3]",
        "$.after[?count (@.a) == 1]",
        "$.after[?count(1) == 1]",
        "$.after[?count(@.a, @.b) == 1]",
        "$.after[?value(1) == 1]",
        "$.after[?length() == 1]",
        "$.after[?match(@.a)]",
        "$.after[?match(@.a, 'x', 'y')]",
        "$.after[?!length(@.a)]",
        "$.after[?length(@.a == 1) > 1]",
        "$.after[?match(@.a[*], 'x')]",
        "$.after[?@.a][",
        "$.after]",
        "$.after(@.a)",
        "$after.a",
        " $.after.a",
        "$.after[1:2:3:4]",
        "$.after[1:a]",
        "$.after[::01]",
    ];

    #[test]
    fn what_rfc_9535_forbids_is_refused() {
        for text in FORBIDDEN {
            assert!(Query::parse(text).is_err(), "{text} is accepted");
        }
    }

    #[test]
    fn escapes_stand_for_their_characters() {
        for (text, name) in [
            ("$['it\\'s']", "it's"),
            ("$[\"say \\\"x\\\"\"]", "say \"x\""),
            ("$['\\u00e4\\n']", "ä\n"),
            ("$['\\uD83D\\uDE00']", "😀"),
            ("$['a\\\\b/\\/']", "a\\b//"),
        ] {
            let query = Query::parse_plain(text).unwrap();
            assert_eq!(&*query.path().steps[0].text, name, "{text}");
        }
    }

    #[test]
    fn a_query_knows_its_root_and_its_singular_prefix() {
        let query = Query::parse("$.after.items[2].tags[?@ == $.key._id]").unwrap();
        assert_eq!((query.root(), query.is_singular(), query.path().steps.len()), (Root::After, false, 3));
        assert_eq!(query.roots(), [Root::After, Root::Key]);
        assert!(Query::parse("$.before.a['b.c'][0]").unwrap().is_singular());
        assert!(Query::parse("$.after.items[-1].sku").unwrap().is_singular());
        assert!(!Query::parse("$.after.items[0,1]").unwrap().is_singular());
        assert_eq!(Query::parse("$").unwrap().root(), Root::Whole);
        assert_eq!(Query::parse_plain("$.store.book[0]").unwrap().path().steps.len(), 3);
    }
}
