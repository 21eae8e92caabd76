//! What MongoDB would say of an update that turns one document into another (`updateDescription`).
//!
//! As the server does: dotted paths to what differs, array elements by index, a whole array when it became shorter.

use bson::{Bson, Document};

use super::WrittenDescription;

/// The description of the update from `before` to `after`.
pub(super) fn between(before: &Document, after: &Document) -> WrittenDescription {
    let mut description = WrittenDescription::default();
    documents(before, after, &mut Vec::new(), &mut description);
    description
}

#[derive(Clone)]
enum Step {
    Field(String),
    Index(usize),
}

fn documents(before: &Document, after: &Document, path: &mut Vec<Step>, description: &mut WrittenDescription) {
    for (name, new) in after {
        path.push(Step::Field(name.clone()));
        match before.get(name) {
            Some(old) => values(old, new, path, description),
            None => update(path, new, description),
        }
        path.pop();
    }
    for name in before.keys().filter(|name| !after.contains_key(name)) {
        path.push(Step::Field(name.clone()));
        let text = text(path, description);
        description.removed.push(text);
        path.pop();
    }
}

fn values(old: &Bson, new: &Bson, path: &mut Vec<Step>, description: &mut WrittenDescription) {
    match (old, new) {
        _ if old == new => {}
        (Bson::Document(old), Bson::Document(new)) => documents(old, new, path, description),
        (Bson::Array(old), Bson::Array(new_elements)) if old.len() <= new_elements.len() => {
            for (index, element) in new_elements.iter().enumerate() {
                path.push(Step::Index(index));
                match old.get(index) {
                    Some(old) => values(old, element, path, description),
                    None => update(path, element, description),
                }
                path.pop();
            }
        }
        _ => update(path, new, description),
    }
}

fn update(path: &[Step], new: &Bson, description: &mut WrittenDescription) {
    let text = text(path, description);
    description.updated.insert(text, new);
}

/// The path joined with dots; where a name makes that ambiguous, its steps are noted too.
fn text(path: &[Step], description: &mut WrittenDescription) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Field(name) => name.clone(),
        Step::Index(index) => index.to_string(),
    });
    let text = steps.collect::<Vec<_>>().join(".");
    let is_ambiguous = path.iter().any(|step| match step {
        Step::Field(name) => name.contains('.') || name.chars().all(|digit| digit.is_ascii_digit()),
        Step::Index(_) => false,
    });
    if is_ambiguous {
        let steps = path.iter().map(|step| match step {
            Step::Field(name) => Bson::String(name.clone()),
            Step::Index(index) => i32::try_from(*index).map_or(Bson::Null, Bson::Int32),
        });
        description.disambiguated.insert(text.clone(), Bson::Array(steps.collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn check(before: Document, after: Document, updated: Document, removed: &[&str]) {
        let description = between(&before, &after);
        assert_eq!(description.updated, updated);
        assert_eq!(description.removed, removed);
    }

    #[test]
    fn only_what_differs_is_named_by_its_dotted_path() {
        check(doc! {"a": 1, "b": 2}, doc! {"a": 1, "b": 3}, doc! {"b": 3}, &[]);
        check(doc! {"a": {"b": {"c": 1, "d": 1}}}, doc! {"a": {"b": {"c": 2, "d": 1}}}, doc! {"a.b.c": 2}, &[]);
        check(doc! {"a": {"b": 1}}, doc! {"a": {}, "c": 1}, doc! {"c": 1}, &["a.b"]);
        check(doc! {"a": {"b": 1}}, doc! {"a": 1}, doc! {"a": 1}, &[]);
        check(doc! {"a": 1}, doc! {"a": 1.0}, doc! {"a": 1.0}, &[]);
    }

    #[test]
    fn elements_are_named_by_index_and_a_shorter_array_comes_whole() {
        let items = |quantity| doc! {"items": [{"q": 1}, {"q": quantity}]};
        check(items(1), items(2), doc! {"items.1.q": 2}, &[]);
        check(doc! {"t": ["a"]}, doc! {"t": ["a", "b", "c"]}, doc! {"t.1": "b", "t.2": "c"}, &[]);
        check(doc! {"t": ["a", "b"]}, doc! {"t": ["b"]}, doc! {"t": ["b"]}, &[]);
    }

    #[test]
    fn ambiguous_paths_come_with_their_steps() {
        let description = between(&doc! {"a": {"0": 1}}, &doc! {"a": {"0": 2}, "b.c": 1});
        assert_eq!(description.updated, doc! {"a.0": 2, "b.c": 1});
        assert_eq!(description.disambiguated, doc! {"a.0": ["a", "0"], "b.c": ["b.c"]});
    }
}
