//! Arrays as they lie in the bytes of a document: their elements by place, and where two of them begin to differ.

use bson::{RawBsonRef, RawDocument};

use crate::change::element::{Content, Element, Elements, elements, elements_from};
use crate::rules::path::Step;

/// BSON's type of a document.
pub(super) const DOCUMENT: u8 = 0x03;
/// BSON's type of an array.
pub(super) const ARRAY: u8 = 0x04;
/// BSON's type of a null.
pub(super) const NULL: u8 = 0x0a;
const EMPTY: [u8; 5] = [5, 0, 0, 0, 0];

/// Where an element lies in the bytes of its array.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The offset of its type.
    pub(super) start: u32,
    /// The offset of its value.
    value: u32,
    /// The offset after it.
    end: u32,
}

/// An array, as the document that it is in its bytes: the names are the indices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Array<'a> {
    document: &'a RawDocument,
}

impl<'a> Array<'a> {
    /// An array without elements.
    pub(super) fn empty() -> Self {
        Self { document: RawDocument::from_bytes(&EMPTY).expect("five bytes are an empty document") }
    }

    /// The array in these bytes; one without elements if they hold none.
    pub(super) fn in_bytes(bytes: &'a [u8]) -> Self {
        RawDocument::from_bytes(bytes).map_or_else(|_| Self::empty(), |document| Self { document })
    }

    /// The array that a value is; one without elements if it is something else, or missing.
    pub(super) fn of(value: Option<RawBsonRef<'a>>) -> Self {
        match value {
            Some(RawBsonRef::Array(array)) => Self::in_bytes(array.as_bytes()),
            _ => Self::empty(),
        }
    }

    /// The array at a path of a document; one without elements if something else is there, or nothing.
    pub(super) fn at(document: &'a RawDocument, steps: &[Step]) -> Self {
        match find((DOCUMENT, document.as_bytes()), steps) {
            Some((ARRAY, bytes)) => Self::in_bytes(bytes),
            _ => Self::empty(),
        }
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.document.as_bytes()
    }

    pub(super) fn elements(self) -> Elements<'a> {
        elements(self.document)
    }

    /// The element that starts at an offset.
    pub(super) fn element(self, start: u32) -> Option<Element<'a>> {
        elements_from(self.document, usize::try_from(start).ok()?).next()
    }

    /// The type and bytes of the element at a place of this array.
    pub(super) fn content(self, place: Place) -> Content<'a> {
        let bytes = self.bytes();
        let kind = bytes.get(place.start as usize).copied().unwrap_or(NULL);
        (kind, bytes.get(place.value as usize..place.end as usize).unwrap_or_default())
    }

    /// Fills `places` with the places of the elements from an offset on.
    pub(super) fn places_from(self, offset: usize, places: &mut Vec<Place>) {
        places.clear();
        let mut walk = elements_from(self.document, offset);
        // A document has at most 16 MB.
        let short = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        loop {
            let start = walk.offset();
            let Some(element) = walk.next() else { return };
            // Between type and value lies the name with its NUL.
            let value = start + element.name.len() + 2;
            places.push(Place { start: short(start), value: short(value), end: short(walk.offset()) });
        }
    }

    /// How many elements at the start are the same to the byte in both, and the offset after them.
    pub(super) fn common_start(self, other: Self) -> (u32, usize) {
        let same_until = common_length(self.bytes(), other.bytes());
        let mut walk = elements(self.document);
        let (mut count, mut end) = (0, walk.offset());
        while walk.next().is_some() && walk.offset() <= same_until {
            count += 1;
            end = walk.offset();
        }
        (count, end)
    }
}

/// Up to which offset both are the same, their lengths in front aside.
fn common_length(left: &[u8], right: &[u8]) -> usize {
    const STRIDE: usize = 64;
    let length = left.len().min(right.len());
    let mut at = 4;
    while at + STRIDE <= length && left[at..at + STRIDE] == right[at..at + STRIDE] {
        at += STRIDE;
    }
    while at < length && left[at] == right[at] {
        at += 1;
    }
    at
}

/// What `steps` lead to from a value, without building it.
pub(super) fn find<'d>(content: Content<'d>, steps: &[Step]) -> Option<Content<'d>> {
    steps.iter().try_fold(content, |(kind, bytes), step| {
        let inside = |bytes| RawDocument::from_bytes(bytes).ok().map(elements);
        let found = match kind {
            DOCUMENT if step.named => inside(bytes)?.find(|element| element.name == step.text.as_bytes()),
            ARRAY => inside(bytes)?.nth(step.index?),
            _ => None,
        };
        found.map(|element| element.content)
    })
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;
    use crate::rules::FieldPath;
    use crate::rules::path::Path;

    fn raw(document: bson::Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(&document).unwrap()
    }

    #[test]
    fn an_array_is_found_through_documents_and_by_index_and_is_empty_where_there_is_none() {
        let document = raw(doc! {"a": {"b": [1, [2, 3]]}, "c": 5, "d": null, "e": {"0": [7]}});
        for (path, count) in
            [("a.b", 2), ("a.b.1", 2), ("e.0", 1), ("a.b.x", 0), ("a", 0), ("c", 0), ("d", 0), ("nobody", 0)]
        {
            let path = Path::from(&FieldPath::parse(path).unwrap());
            let array = Array::at(&document, &path.steps);
            assert_eq!(array.elements().count(), count, "{}", path.dotted());
        }
    }

    #[test]
    fn the_common_start_ends_with_a_whole_element() {
        let long = "x".repeat(200);
        for (left, right, wanted) in [
            (vec!["a", "b"], vec!["a", "b", "c"], 2),
            (vec!["a", "b"], vec!["a", "c"], 1),
            (vec!["a", "b"], vec!["a"], 1),
            (vec![], vec!["a"], 0),
            (vec!["ab"], vec!["aa"], 0),
            (vec![&*long, &*long, "a"], vec![&*long, &*long, "b"], 2),
            (vec!["a"; 12], vec!["a"; 14], 12),
        ] {
            let (left_document, right_document) = (raw(doc! {"l": left.clone()}), raw(doc! {"l": right.clone()}));
            let steps = Path::from(&FieldPath::parse("l").unwrap()).steps;
            let (one, other) = (Array::at(&left_document, &steps), Array::at(&right_document, &steps));
            let (count, end) = one.common_start(other);
            assert_eq!(count, wanted, "{left:?} {right:?}");
            let mut places = Vec::new();
            one.places_from(end, &mut places);
            assert_eq!(places.len(), left.len() - wanted as usize);
            assert!(
                places.iter().all(|place| one
                    .element(place.start)
                    .is_some_and(|element| element.content == one.content(*place)))
            );
        }
    }
}
