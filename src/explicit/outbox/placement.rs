//! Further fields of a document of the layout `debezium`, and where they go: `field:header`, `field:envelope:alias`.

use std::sync::Arc;

use bson::raw::CString;

/// A further field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Additional {
    pub(super) field: String,
    pub(super) place: Place,
}

/// Where a further field goes, and under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Among the headers.
    Header(Arc<str>),
    /// Beside the payload, in the value.
    Envelope(CString),
}

/// What is wrong with a placement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlacementError {
    #[error("{written:?} is not of the form field:place or field:place:alias")]
    Form { written: String },
    #[error("{written:?} has no place {place:?}")]
    Place { written: String, place: String },
    #[error("{written:?} wants a partition by its number")]
    Partition { written: String },
    #[error("{written:?} gives a name that can not be used")]
    Name { written: String },
    #[error("{written:?} gives a name that is there already")]
    Repeat { written: String },
}

impl PlacementError {
    /// The way out.
    pub(super) fn help(&self) -> &'static str {
        match self {
            Self::Form { .. } => "write for example tenant:header, or tenant:header:tenantId",
            Self::Place { .. } => "the places are header and envelope",
            Self::Partition { .. } => {
                "leave it out: no sink takes the number of a partition; events of one key keep their order, whatever their partition"
            }
            Self::Name { .. } => {
                "a header needs printable ASCII without blanks; beside the payload nothing else can be called payload"
            }
            Self::Repeat { .. } => "give it another alias",
        }
    }
}

/// The fields of a list; each text may itself be a list with commas, as Debezium has it.
pub(super) fn parse(texts: &[String]) -> Result<Vec<Additional>, PlacementError> {
    let mut all: Vec<Additional> = Vec::new();
    for text in texts.iter().flat_map(|text| text.split(',')) {
        let one = additional(text.trim())?;
        if all.iter().any(|other| other.place == one.place) {
            return Err(PlacementError::Repeat { written: text.trim().to_owned() });
        }
        all.push(one);
    }
    Ok(all)
}

fn additional(text: &str) -> Result<Additional, PlacementError> {
    let written = || text.to_owned();
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let (field, place, alias) = match parts.as_slice() {
        [field, place] => (*field, *place, *field),
        [field, place, alias] => (*field, *place, *alias),
        _ => return Err(PlacementError::Form { written: written() }),
    };
    if field.is_empty() || alias.is_empty() {
        return Err(PlacementError::Form { written: written() });
    }
    let place = match place.to_ascii_lowercase().as_str() {
        "header" if alias.bytes().all(|byte| byte.is_ascii_graphic()) => Place::Header(alias.into()),
        "envelope" if alias != "payload" => {
            Place::Envelope(CString::try_from(alias).map_err(|_| PlacementError::Name { written: written() })?)
        }
        "header" | "envelope" => return Err(PlacementError::Name { written: written() }),
        "partition" => return Err(PlacementError::Partition { written: written() }),
        other => return Err(PlacementError::Place { written: written(), place: other.to_owned() }),
    };
    Ok(Additional { field: field.to_owned(), place })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Result<Vec<Additional>, PlacementError> {
        parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn placements_are_read_as_debezium_writes_them() {
        let header = |field: &str, name: &str| Additional { field: field.into(), place: Place::Header(name.into()) };
        let envelope = |field: &str, name: &str| Additional {
            field: field.into(),
            place: Place::Envelope(CString::try_from(name).unwrap()),
        };
        assert_eq!(texts(&[]).unwrap(), []);
        assert_eq!(texts(&["type:header:eventType"]).unwrap(), [header("type", "eventType")]);
        assert_eq!(
            texts(&["type:HEADER , tenant:envelope", " at : envelope : occurredAt "]).unwrap(),
            [header("type", "type"), envelope("tenant", "tenant"), envelope("at", "occurredAt")]
        );
    }

    #[test]
    fn what_is_no_placement_is_refused_with_the_way_out() {
        for (text, wanted) in [
            ("type", "form field:place"),
            ("", "form field:place"),
            ("a:header:b:c", "form field:place"),
            (":header", "form field:place"),
            ("a:header:", "form field:place"),
            ("a:body", "no place \"body\""),
            ("a:partition", "a partition by its number"),
            ("a:header:b c", "a name that can not be used"),
            ("a:envelope:payload", "a name that can not be used"),
            ("a:header:x,b:header:x", "is there already"),
        ] {
            let error = texts(&[text]).unwrap_err();
            assert!(error.to_string().contains(wanted) && !error.help().is_empty(), "{text}: {error}");
        }
    }
}
