//! What was probably meant by a word that nobody knows.

/// The candidate that is nearest to `word`, if one is near enough to be a likely slip of the fingers.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = word.to_lowercase();
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= limit || is_beginning(&lower, candidate))
        .min_by_key(|(distance, candidate)| (*distance, !is_beginning(&lower, candidate)))
        .map(|(_, candidate)| candidate)
}

/// `did you mean "status"?`, if some candidate is near.
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    nearest(word, candidates).map(|candidate| format!("did you mean {candidate:?}?"))
}

fn is_beginning(lower: &str, candidate: &str) -> bool {
    lower.len() >= 3 && (candidate.to_lowercase().starts_with(lower) || lower.starts_with(&candidate.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 5] = ["event", "collection", "when", "where", "on"];

    #[test]
    fn a_slip_of_the_fingers_is_recognised() {
        for (word, meant) in [
            ("evnt", "event"),
            ("events", "event"),
            ("Collection", "collection"),
            ("colection", "collection"),
            ("wehn", "when"),
            ("wher", "where"),
            ("coll", "collection"),
        ] {
            assert_eq!(nearest(word, KEYS), Some(meant), "{word}");
        }
    }

    #[test]
    fn a_word_of_its_own_gets_no_hint() {
        for word in ["retries", "x", "payload", "filter"] {
            assert_eq!(did_you_mean(word, KEYS), None, "{word}");
        }
    }
}
