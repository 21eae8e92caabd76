//! The strictness that the parser lacks, checked on the text: it knows exact offsets and can say what was meant.
//!
//! The parser allows blanks inside names, so that `$.a b` is a field named `a b` and `?@.b in ['x']` asks for a field named `b in`.
//! Neither is JSONPath, and neither would ever match.

use super::Root;
use super::compile::Roots;
use crate::rules::LanguageError;

const SYNTAX: &str = "R020";
const ROOT: &str = "R021";
const ROOT_ELSEWHERE: &str = "R022";
const FUNCTION: &str = "R026";

/// The functions of RFC 9535.
const FUNCTIONS: [&str; 5] = ["length", "count", "value", "match", "search"];

/// Checks names, roots, words and operators of a JSONPath.
pub(super) fn check(text: &str, roots: Roots) -> Result<(), LanguageError> {
    let characters: Vec<char> = text.chars().collect();
    let mut scan = Scan { characters, at: 0, roots, open: Vec::new() };
    scan.ends()?;
    while let Some(character) = scan.peek() {
        scan.token(character)?;
    }
    match scan.open.pop() {
        Some((open, at)) => Err(error(at, &format!("the {open} is not closed"), "close it")),
        None => Ok(()),
    }
}

struct Scan {
    characters: Vec<char>,
    at: usize,
    roots: Roots,
    /// The brackets and parentheses that are open, with their places.
    open: Vec<(char, usize)>,
}

fn starts_name(character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_' || character as u32 >= 0x80
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

fn error(offset: usize, message: &str, help: &str) -> LanguageError {
    LanguageError::new(offset, SYNTAX, message, help)
}

impl Scan {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn after(&self, count: usize) -> Option<char> {
        self.characters.get(self.at + count).copied()
    }

    fn ends(&self) -> Result<(), LanguageError> {
        match self.characters.first() {
            None => return Err(error(0, "the JSONPath is empty", "start with a root, for example `$.after.status`")),
            Some('$') => {}
            Some(_) => {
                let text: String = self.characters.iter().collect();
                let name = text.trim().trim_start_matches("@.").trim_start_matches('.');
                let plain = !name.is_empty() && name.chars().all(|c| starts_name(c) || c.is_ascii_digit() || c == '.');
                let has_root = ["after", "before", "key", "change", "meta", "item", "itemBefore"]
                    .contains(&name.split('.').next().unwrap_or_default());
                let help = match (plain, self.roots) {
                    (true, _) if has_root => format!("write `$.{name}`"),
                    (true, Roots::OfAChange | Roots::OfAnElement) => format!("write `$.after.{name}`"),
                    (true, Roots::AnyDocument) => format!("write `$.{name}`"),
                    (false, _) => "start with a root, for example `$.after.status`".to_owned(),
                };
                return Err(error(0, "a JSONPath starts with $", &help));
            }
        }
        if self.characters.last().copied().is_some_and(is_blank) {
            return Err(error(self.characters.len() - 1, "the JSONPath ends with a blank", "remove it"));
        }
        Ok(())
    }

    fn token(&mut self, character: char) -> Result<(), LanguageError> {
        match character {
            '\'' | '"' => self.quoted(character),
            '$' => self.root(),
            '@' if self.open.is_empty() => {
                Err(error(self.at, "@ has a meaning only inside a filter", "start with a root, for example `$.after`"))
            }
            '.' => self.dot(),
            '[' => self.open(),
            '(' => {
                self.open.push(('(', self.at));
                self.at += 1;
                Ok(())
            }
            ']' | ')' => self.close(character),
            '-' | '0'..='9' => self.number(),
            '=' | '&' | '|' | '<' | '>' | '!' | '~' => self.operator(character),
            _ if starts_name(character) => self.word(),
            _ => {
                self.at += 1;
                Ok(())
            }
        }
    }

    fn open(&mut self) -> Result<(), LanguageError> {
        self.open.push(('[', self.at));
        self.at += 1;
        self.skip_blanks();
        match self.peek() {
            Some(']') => Err(error(self.at, "the brackets are empty", "write `[*]` for every element")),
            Some('(') => Err(error(self.at, "a filter starts with ?", "write `[?...]`")),
            _ => Ok(()),
        }
    }

    fn close(&mut self, character: char) -> Result<(), LanguageError> {
        let wanted = if character == ']' { '[' } else { '(' };
        match self.open.pop() {
            Some((open, _)) if open == wanted => {
                self.at += 1;
                Ok(())
            }
            Some((open, at)) => {
                Err(error(at, &format!("the {open} is not closed"), "close it before what is around it"))
            }
            None => Err(error(self.at, &format!("the {character} closes nothing"), "remove it")),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<(), LanguageError> {
        let start = self.at;
        self.at += 1;
        while let Some(character) = self.peek() {
            self.at += if character == '\\' { 2 } else { 1 };
            if character == quote {
                return Ok(());
            }
        }
        Err(error(start, "the quote is not closed", "close it with the same kind of quote"))
    }

    fn root(&mut self) -> Result<(), LanguageError> {
        self.at += 1;
        if self.roots == Roots::AnyDocument {
            return Ok(());
        }
        let mut ahead = self.at;
        while self.characters.get(ahead).copied().is_some_and(is_blank) {
            ahead += 1;
        }
        let (start, name) = match (self.characters.get(ahead), self.characters.get(ahead + 1)) {
            (None, _) if self.at == 1 => return Ok(()),
            (Some('.'), Some(&first)) if starts_name(first) => (ahead + 1, self.name_from(ahead + 1)),
            (Some('['), Some(&quote @ ('\'' | '"'))) => {
                let inside = self.characters[ahead + 2..].iter();
                (ahead + 2, inside.take_while(|&&character| character != quote).collect())
            }
            (Some('.'), Some(&first)) if first != '.' && first != '*' => return Ok(()),
            _ => {
                return Err(LanguageError::new(
                    ahead.min(self.characters.len()),
                    ROOT,
                    "the JSONPath does not say which root it starts from",
                    "name one after $: before, after, key, change or meta, for example `$.after..sku`",
                ));
            }
        };
        check_root(start, &name, self.roots)
    }

    fn name_from(&self, start: usize) -> String {
        self.characters[start..].iter().take_while(|&&c| starts_name(c) || c.is_ascii_digit()).collect()
    }

    fn dot(&mut self) -> Result<(), LanguageError> {
        let dot = self.at;
        let descends = self.after(1) == Some('.');
        self.at += if descends { 2 } else { 1 };
        match self.peek() {
            None => Err(error(dot, "the JSONPath ends with a dot", "remove it, or name the field after it")),
            Some('*') => {
                self.at += 1;
                Ok(())
            }
            Some('[') if descends => Ok(()),
            Some('[') => Err(error(dot, "a dot stands before a bracket", "remove the dot")),
            Some('.') => {
                Err(error(self.at, "there is a dot too many", "write `.name` for a child, `..name` for any depth"))
            }
            Some(first) if starts_name(first) => self.name(),
            Some(first) if is_blank(first) => Err(error(self.at, "a blank stands after the dot", "remove the blank")),
            Some(first) if first.is_ascii_digit() => {
                let digits: String = self.characters[self.at..].iter().take_while(|c| c.is_ascii_digit()).collect();
                let help = format!("write `[{digits}]` for an element of an array, `['{digits}']` for a field");
                Err(error(dot, "a name after a dot does not start with a digit", &help))
            }
            Some(first) => Err(error(
                self.at,
                &format!("a name after a dot does not start with {first}"),
                "write it in brackets and quotes, as `['the name']`",
            )),
        }
    }

    fn name(&mut self) -> Result<(), LanguageError> {
        let start = self.at;
        let name = self.name_from(start);
        self.at += name.chars().count();
        match self.peek() {
            Some('-') => {
                let whole: String = self.characters[start..]
                    .iter()
                    .take_while(|&&c| starts_name(c) || c.is_ascii_digit() || c == '-')
                    .collect();
                let help = format!("write `['{whole}']`, without the dot before it");
                return Err(error(self.at, "a name after a dot holds no -", &help));
            }
            Some('(') => {
                let help = format!("write it in front, as `{name}(@.x)`, inside a filter");
                return Err(LanguageError::new(start, FUNCTION, "a JSONPath has no methods", &help));
            }
            _ => {}
        }
        let blank = self.at;
        self.skip_blanks();
        match self.peek() {
            Some(next)
                if blank < self.at && (starts_name(next) || next.is_ascii_digit() || matches!(next, '\'' | '"')) =>
            {
                Err(self.blank_in_name(start, &name))
            }
            Some(next @ ('\'' | '"')) => {
                Err(error(self.at, &format!("a name after a dot holds no {next}"), "write it as `['the name']`"))
            }
            Some(next) if !matches!(next, '.' | '[' | ']' | ')' | ',' | '=' | '!' | '<' | '>' | '&' | '|' | '~') => {
                Err(error(
                    self.at,
                    &format!("a name after a dot holds no {next}"),
                    "write it in brackets and quotes, as `['the name']`",
                ))
            }
            _ => Ok(()),
        }
    }

    fn blank_in_name(&self, start: usize, name: &str) -> LanguageError {
        let word = self.name_from(self.at);
        let field = if !self.open.is_empty() { format!("@.{name}") } else { name.to_owned() };
        let help = match word.as_str() {
            "and" | "AND" | "or" | "OR" if self.open.is_empty() => {
                "one JSONPath stands alone: two conditions are two elements of the list of `where`, and in a text each stands in braces".to_owned()
            }
            "in" | "nin" | "IN" => format!("JSONPath has no `{word}`; write `{field} == 'x' || {field} == 'y'`"),
            "and" | "AND" => "write `&&`".to_owned(),
            "or" | "OR" => "write `||`".to_owned(),
            "like" | "matches" | "contains" => format!("JSONPath has no `{word}`; write `search({field}, 'pattern')`"),
            "eq" | "is" => "write `==`".to_owned(),
            "gt" => "write `>`".to_owned(),
            "lt" => "write `<`".to_owned(),
            _ if word.is_empty() => "an operator is missing between the two".to_owned(),
            _ => format!("if the field is named `{name} {word}`, write `['{name} {word}']`, without the dot before it"),
        };
        let at = if word.is_empty() { self.at } else { start + name.chars().count() };
        error(at, "a name after a dot holds no blank", &help)
    }

    fn number(&mut self) -> Result<(), LanguageError> {
        let start = self.at;
        self.at += 1;
        while let Some(character) = self.peek() {
            let sign_of_exponent = matches!(character, '+' | '-') && matches!(self.characters[self.at - 1], 'e' | 'E');
            if !(character.is_ascii_digit() || matches!(character, '.' | 'e' | 'E') || sign_of_exponent) {
                break;
            }
            self.at += 1;
        }
        let text: String = self.characters[start..self.at].iter().collect();
        let whole = !text.contains(['.', 'e', 'E']);
        if whole && text.parse::<i64>().is_ok_and(|number| number.unsigned_abs() > (1 << 53) - 1) {
            let help = "compare it under `where` with a matcher, for example `{$.after.n: {gt: 9007199254740993}}`";
            return Err(error(start, "a whole number in a JSONPath lies within plus or minus 9007199254740991", help));
        }
        Ok(())
    }

    fn operator(&mut self, character: char) -> Result<(), LanguageError> {
        if self.open.is_empty() {
            return Err(error(
                self.at,
                "a JSONPath only selects: it compares nothing outside of a filter",
                "under `where`, a matcher asks for the value: {$.after.total: {gte: 100}}; inside of a filter: `$.after.items[?@.qty > 2]`",
            ));
        }
        let next = self.after(1);
        let (length, problem) = match (character, next) {
            ('=', Some('~')) => (0, Some("write `match(@.x, 'pattern')` or `search(@.x, 'pattern')`")),
            ('=', Some('=')) if self.after(2) == Some('=') => (0, Some("write `==`")),
            ('=' | '!' | '<' | '>', Some('=')) | ('&', Some('&')) | ('|', Some('|')) => (2, None),
            ('<', Some('>')) => (0, Some("write `!=`")),
            ('<' | '>' | '!', _) => (1, None),
            ('=', _) => (0, Some("write `==`")),
            ('&', _) => (0, Some("write `&&`")),
            ('|', _) => (0, Some("write `||`")),
            _ => (1, Some("the operators are == != < <= > >= && || !")),
        };
        if let Some(help) = problem {
            return Err(error(self.at, "this is no operator of a JSONPath", help));
        }
        self.at += length;
        Ok(())
    }

    fn word(&mut self) -> Result<(), LanguageError> {
        let start = self.at;
        let word = self.name_from(start);
        self.at += word.chars().count();
        if self.peek() == Some('(') {
            if FUNCTIONS.contains(&word.as_str()) {
                return Ok(());
            }
            let help = match nearest(&word, &FUNCTIONS) {
                Some(function) => format!("did you mean `{function}`?"),
                None => "the functions are length, count, value, match and search".to_owned(),
            };
            return Err(LanguageError::new(start, FUNCTION, &format!("there is no function `{word}`"), &help));
        }
        if matches!(word.as_str(), "true" | "false" | "null") {
            return Ok(());
        }
        let operator = match word.to_ascii_lowercase().as_str() {
            "and" => Some("write `&&`".to_owned()),
            "or" => Some("write `||`".to_owned()),
            "not" => Some("write `!`".to_owned()),
            "in" | "nin" | "like" | "contains" => {
                Some(format!("JSONPath has no `{word}`; write `@.x == 'a' || @.x == 'b'`, or `search(@.x, 'pattern')`"))
            }
            _ => None,
        };
        let help = operator.unwrap_or_else(|| format!("write `'{word}'` for a text, `@.{word}` for a field"));
        Err(error(start, &format!("the word `{word}` has no meaning here"), &help))
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }
}

fn check_root(start: usize, name: &str, roots: Roots) -> Result<(), LanguageError> {
    let with_elements = roots == Roots::OfAnElement;
    match Root::of_name(name) {
        Some(root) if root.is_of_an_element() && !with_elements => {
            let message = format!("`$.{name}` has a meaning only inside a rule with `each`");
            let help = "read the array itself, for example `$.after.items[*]`";
            return Err(LanguageError::new(start, ROOT_ELSEWHERE, &message, help));
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let further = if with_elements { &Root::OF_AN_ELEMENT[..] } else { &[] };
    let names: Vec<&str> = Root::NAMED.iter().chain(further).map(|root| root.as_str()).collect();
    let help = match nearest(name, &names) {
        Some(root) => format!("did you mean `$.{root}`?"),
        None if with_elements => {
            format!("write `$.item.{name}` or `$.after.{name}`, or start with {}", names[2..].join(", "))
        }
        None => format!("write `$.after.{name}`, or start with before, after, key, change or meta"),
    };
    Err(LanguageError::new(start, ROOT, &format!("there is no root `$.{name}`"), &help))
}

/// The known word that is so near to `word` that it was most likely meant.
fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    known
        .iter()
        .copied()
        .filter(|candidate| distance(candidate) <= 2 && distance(candidate) < candidate.len())
        .min_by_key(|candidate| distance(candidate))
}
