//! The stable codes of findings about rule files. A code never changes its meaning; `docs/rules.md` lists them all.

/// The file does not have the shape of a rule file.
pub(super) const FILE_SHAPE: &str = "R001";
/// A key that nobody knows.
pub(super) const UNKNOWN_KEY: &str = "R002";
/// A key that must be there is not.
pub(super) const MISSING_KEY: &str = "R003";
/// A value of the wrong type.
pub(super) const WRONG_TYPE: &str = "R004";
/// A version of the rule language that is not known.
pub(super) const UNKNOWN_VERSION: &str = "R005";
/// Two rules with one id.
pub(super) const DUPLICATE_ID: &str = "R006";
/// The name of an event or rule can not be used.
pub(super) const BAD_NAME: &str = "R007";
/// A word that is none of those allowed here.
pub(super) const UNKNOWN_WORD: &str = "R009";
/// A transition that is not known.
pub(super) const UNKNOWN_TRANSITION: &str = "R011";
/// An operator of a value matcher that is not known.
pub(super) const UNKNOWN_OPERATOR: &str = "R012";
/// A condition that can not hold, whatever happens.
pub(super) const CANNOT_HOLD: &str = "R013";
/// A rule that can not fire, whatever happens.
pub(super) const CANNOT_FIRE: &str = "R014";
/// A regular expression that does not compile.
pub(super) const BAD_REGEX: &str = "R015";
/// A date or an Extended JSON literal that is not one.
pub(super) const BAD_LITERAL: &str = "R016";
/// A list or mapping that must hold something is empty.
pub(super) const EMPTY: &str = "R018";
/// A key of `where` that is no JSONPath.
pub(super) const NO_QUERY: &str = "R019";
/// A test whose change can not happen.
pub(super) const BAD_CHANGE: &str = "R030";
/// A test expects an event that no rule makes.
pub(super) const UNKNOWN_EVENT: &str = "R031";
/// `absorbs` names a rule that is not there.
pub(super) const UNKNOWN_RULE: &str = "R032";
/// Warning: one event name, two shapes of data.
pub(super) const DIFFERENT_SHAPES: &str = "R040";
/// Warning: no test expects the rule's event.
pub(super) const NO_TEST: &str = "R041";
/// Warning: two rules match exactly the same changes.
pub(super) const INDISTINGUISHABLE: &str = "R042";
/// Warning: a path that never holds a value.
pub(super) const NEVER_THERE: &str = "R043";
/// Warning: a text that was probably meant as a path or a word of the language.
pub(super) const TAKEN_AS_TEXT: &str = "R044";
/// Warning: a key that changes nothing beside the others of the rule.
pub(super) const NO_EFFECT: &str = "R045";
/// Warning: a rule that an earlier one of its group never lets fire.
pub(super) const SHADOWED: &str = "R046";
