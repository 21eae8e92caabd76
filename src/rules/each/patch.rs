//! An array as it is after an update, from what it was and what the update says of itself: who has the document before the change
//! needs no image after it.
//!
//! A description names values by dotted paths; where dots or digits in names make a path ambiguous, newer servers give its steps
//! too. An array that is written past its end is filled with nulls, as the server does.

use bson::{RawArray, RawBsonRef};

use super::array::{ARRAY, Array, DOCUMENT, NULL};
use crate::change::Description;
use crate::change::element::{Content, elements, elements_from};
use crate::rules::mention::{relation, truncated};
use crate::rules::path::{Path, Relation};

/// The server fills no greater gap (`$set` on an array, "Backfill").
const NULLS_MAX: u32 = 1_500_000;

/// Builds arrays. Kept from change to change, for its memory.
#[derive(Debug, Default)]
pub(super) struct Patch {
    bytes: Vec<u8>,
    writes: Vec<Write>,
    prefix: String,
}

/// A write below the array, by the index of the element that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Write {
    index: u32,
    place: Place,
}

/// Where a write stands in the description: its offset there, or its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Updated(u32),
    Removed(u32),
    Truncated(u32),
}

/// What becomes of a value.
#[derive(Clone, Copy)]
enum Effect<'d> {
    Set(Content<'d>),
    Unset,
    Cut(usize),
}

/// How a write lies to a field.
enum Reach<'d> {
    /// It is elsewhere.
    Apart,
    /// It is the field's own.
    Own(Effect<'d>),
    /// It is inside of the field.
    Inside,
}

impl Patch {
    /// The array at `path` after the update; nothing if the description cannot be followed.
    pub(super) fn apply<'p>(
        &'p mut self,
        before: Array<'_>,
        path: &Path,
        description: &Description<'_>,
    ) -> Option<Array<'p>> {
        self.prefix.clear();
        self.prefix.push_str(path.dotted());
        self.prefix.push('.');
        let size = self.collect(path, description)?;
        let mut builder =
            Builder { description, writes: &self.writes, prefix: &mut self.prefix, bytes: &mut self.bytes };
        builder.bytes.clear();
        builder.array(before, path.steps.len(), size)?;
        Some(Array::in_bytes(&self.bytes))
    }

    /// Gathers the writes below the array, in the order of its elements; gives the size to which the array itself was cut.
    fn collect(&mut self, path: &Path, description: &Description<'_>) -> Option<Option<usize>> {
        self.writes.clear();
        let prefix = self.prefix.as_str();
        let mut add = |name: &str, place: Place| -> Option<()> {
            if relation(description, path, name) == Relation::Below {
                let rest = name.strip_prefix(prefix)?;
                let index = rest.split('.').next()?.parse().ok()?;
                self.writes.push(Write { index, place });
            }
            Some(())
        };
        let mut walk = elements(description.updated);
        loop {
            let offset = walk.offset();
            let Some(element) = walk.next() else { break };
            add(element.name_text(), Place::Updated(u32::try_from(offset).ok()?))?;
        }
        for (number, name) in (0..).zip(description.removed.into_iter().flatten()) {
            add(name.as_str()?, Place::Removed(number))?;
        }
        let mut own_size = None;
        for (number, (name, size)) in (0..).zip(truncated(description)) {
            if name == path.dotted() {
                own_size = Some(size);
            }
            add(name, Place::Truncated(number))?;
        }
        self.writes.sort_unstable();
        Some(own_size)
    }
}

struct Builder<'b, 'd> {
    description: &'b Description<'d>,
    writes: &'b [Write],
    /// The dotted path of the value that is being built, with a dot at its end.
    prefix: &'b mut String,
    bytes: &'b mut Vec<u8>,
}

impl<'d> Builder<'_, 'd> {
    /// Writes the array itself; `depth` is the number of steps to it.
    fn array(&mut self, before: Array<'_>, depth: usize, size: Option<usize>) -> Option<()> {
        let start = self.open();
        let mut rest = self.writes;
        let mut count = 0_u32;
        let mut walk = before.elements();
        // Elements keep their indices: those that are not touched are copied as they lie, many at once.
        let mut untouched = walk.offset();
        while size.is_none_or(|size| (count as usize) < size) {
            let place = walk.offset();
            let Some(element) = walk.next() else { break };
            let own = rest.iter().take_while(|write| write.index == count).count();
            if own > 0 {
                self.bytes.extend_from_slice(before.bytes().get(untouched..place)?);
                let (writes, others) = rest.split_at(own);
                rest = others;
                self.field(element.name_text(), element.content, writes, depth)?;
                untouched = walk.offset();
            }
            count += 1;
        }
        self.bytes.extend_from_slice(before.bytes().get(untouched..walk.offset())?);
        while let Some(write) = rest.first() {
            let own = rest.iter().take_while(|other| other.index == write.index).count();
            let (writes, others) = rest.split_at(own);
            rest = others;
            // What is written to a new element is all of it.
            let [write] = writes else { return None };
            let (_, content) = self.updated(write)?;
            self.nulls(count, write.index)?;
            self.put(Digits::of(write.index).as_str(), content);
            count = write.index + 1;
        }
        self.close(start);
        Some(())
    }

    /// Writes a field, or an element, with what the writes make of it.
    fn field(&mut self, name: &str, content: Content<'_>, writes: &[Write], depth: usize) -> Option<()> {
        let mut is_touched = false;
        let mut size = None;
        for write in writes {
            match self.reach(write, name, depth)? {
                Reach::Apart => {}
                Reach::Own(Effect::Set(content)) => {
                    self.put(name, content);
                    return Some(());
                }
                Reach::Own(Effect::Unset) => return Some(()),
                Reach::Own(Effect::Cut(to)) => size = Some(to),
                Reach::Inside => is_touched = true,
            }
        }
        if !is_touched && size.is_none() {
            self.put(name, content);
            return Some(());
        }
        let (kind @ (DOCUMENT | ARRAY), bytes) = content else { return None };
        self.header(kind, name);
        let outside = self.prefix.len();
        self.prefix.push_str(name);
        self.prefix.push('.');
        self.inside(kind, Array::in_bytes(bytes), writes, depth + 1, size)?;
        self.prefix.truncate(outside);
        Some(())
    }

    /// Writes a document or an array inside of an element.
    fn inside(
        &mut self,
        kind: u8,
        before: Array<'_>,
        writes: &[Write],
        depth: usize,
        size: Option<usize>,
    ) -> Option<()> {
        let start = self.open();
        let mut count = 0_u32;
        for field in before.elements().take(size.unwrap_or(usize::MAX)) {
            self.field(field.name_text(), field.content, writes, depth)?;
            count += 1;
        }
        // What has no field yet comes after those that are there, in the order of the description.
        for write in writes {
            let Place::Updated(_) = write.place else { continue };
            let (full_name, content) = self.updated(write)?;
            let Some(name) = full_name.strip_prefix(&**self.prefix) else { continue };
            let mut is_known = false;
            for field in before.elements().take(size.unwrap_or(usize::MAX)) {
                is_known |= !matches!(self.reach(write, field.name_text(), depth)?, Reach::Apart);
            }
            if is_known || !self.is_own_step(full_name, depth) {
                continue;
            }
            if kind == ARRAY {
                let index = name.parse().ok()?;
                self.nulls(count, index)?;
                count = index + 1;
            }
            self.put(name, content);
        }
        self.close(start);
        Some(())
    }

    fn reach(&self, write: &Write, field: &str, depth: usize) -> Option<Reach<'d>> {
        let (name, effect) = self.effect(write)?;
        let Some(rest) = name.strip_prefix(&**self.prefix).and_then(|rest| rest.strip_prefix(field)) else {
            return Some(Reach::Apart);
        };
        let told = self.description.disambiguated.and_then(|names| names.get_array(name).ok());
        Some(match rest.as_bytes() {
            [] if told.is_none_or(|steps| count(steps) == depth + 1) => Reach::Own(effect),
            [b'.', ..] if told.is_none_or(|steps| is_step(steps, depth, field)) => Reach::Inside,
            _ => Reach::Apart,
        })
    }

    /// True if the last step of a name is taken from a value that is this deep.
    fn is_own_step(&self, name: &str, depth: usize) -> bool {
        let told = self.description.disambiguated.and_then(|names| names.get_array(name).ok());
        told.is_none_or(|steps| count(steps) == depth + 1)
    }

    fn effect(&self, write: &Write) -> Option<(&'d str, Effect<'d>)> {
        match write.place {
            Place::Updated(_) => self.updated(write).map(|(name, content)| (name, Effect::Set(content))),
            Place::Removed(number) => {
                let name = self.description.removed.get(usize::try_from(number).ok()?).ok()??;
                match name {
                    RawBsonRef::String(name) => Some((name, Effect::Unset)),
                    _ => None,
                }
            }
            Place::Truncated(number) => {
                let (name, size) = truncated(self.description).nth(usize::try_from(number).ok()?)?;
                Some((name, Effect::Cut(size)))
            }
        }
    }

    fn updated(&self, write: &Write) -> Option<(&'d str, Content<'d>)> {
        let Place::Updated(offset) = write.place else { return None };
        let element = elements_from(self.description.updated, usize::try_from(offset).ok()?).next()?;
        Some((element.name_text(), element.content))
    }

    fn nulls(&mut self, from: u32, until: u32) -> Option<()> {
        if until.saturating_sub(from) > NULLS_MAX {
            return None;
        }
        (from..until).for_each(|index| self.put(Digits::of(index).as_str(), (NULL, &[])));
        Some(())
    }

    fn header(&mut self, kind: u8, name: &str) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
    }

    fn put(&mut self, name: &str, (kind, bytes): Content<'_>) {
        self.header(kind, name);
        self.bytes.extend_from_slice(bytes);
    }

    fn open(&mut self) -> usize {
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.len() - 4
    }

    fn close(&mut self, start: usize) {
        self.bytes.push(0);
        let length = i32::try_from(self.bytes.len() - start).unwrap_or(i32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// The digits of an index, without memory of their own.
struct Digits {
    bytes: [u8; 10],
    start: usize,
}

impl Digits {
    fn of(mut number: u32) -> Self {
        let mut digits = Self { bytes: [b'0'; 10], start: 10 };
        while number > 0 || digits.start == 10 {
            digits.start -= 1;
            digits.bytes[digits.start] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        digits
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.start..]).unwrap_or_default()
    }
}

fn count(steps: &RawArray) -> usize {
    steps.iter_elements().count()
}

/// True if the step at `depth` is `name`, and not the last one.
fn is_step(steps: &RawArray, depth: usize, name: &str) -> bool {
    let mut steps = steps.into_iter().flatten().skip(depth);
    let is_name = match steps.next() {
        Some(RawBsonRef::String(step)) => step == name,
        Some(RawBsonRef::Int32(index)) => name.parse() == Ok(index),
        Some(RawBsonRef::Int64(index)) => name.parse() == Ok(index),
        _ => false,
    };
    is_name && steps.next().is_some()
}
