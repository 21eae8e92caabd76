//! The figures as a table of text, for a terminal of any width.

use super::figures::{Figures, TypeFigures, Verdict};

/// How a piece of a text is meant, for who colours it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Heading,
    /// All is well.
    Good,
    /// To be looked at.
    Warning,
    /// Wrong.
    Bad,
    /// Of no weight.
    Faint,
}

/// Colours a piece of a text, or leaves it as it is. It must not change how wide the piece is on a terminal.
pub type Paint<'p> = &'p dyn Fn(Tone, &str) -> String;

/// The narrowest and the widest column of names.
const NAME_WIDTHS: (usize, usize) = (10, 40);

/// What stands between two columns.
const GAP: &str = "  ";

/// The figures of every type as a table, its lines at most `width` wide (but for a very narrow terminal), with a line break at the
/// end; without colours. Only types that are compared are in it; empty if there is none.
///
/// Where a line for each type is too wide, each has two, and figures that belong together stand above each other.
pub fn table(figures: &Figures, width: usize) -> String {
    painted_table(figures, width, &|_, text| text.to_owned())
}

/// The same, with colours.
pub fn painted_table(figures: &Figures, width: usize, paint: Paint<'_>) -> String {
    let types: Vec<&TypeFigures> = figures.types.iter().filter(|one| one.is_compared).collect();
    if types.is_empty() {
        return String::new();
    }
    let wide = figure_columns(&types, 1);
    let has_room = name_width(&types) + all_widths(&wide) <= width;
    let mut columns = if has_room { wide } else { figure_columns(&types, 2) };
    columns.insert(0, name_column(&types, width.saturating_sub(all_widths(&columns))));
    let mut text = String::new();
    for row in 0..=types.len() {
        write_row(&mut text, &columns, row, paint);
    }
    text
}

/// A column: its heading, and below it for each type what stands in its lines.
struct Column {
    rows: Vec<Vec<Cell>>,
    is_right: bool,
}

struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    fn new(text: impl Into<String>, tone: Option<Tone>) -> Self {
        Self { text: text.into(), tone }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl Column {
    fn new(heading: &[&str], rows: impl Iterator<Item = Vec<Cell>>, is_right: bool) -> Self {
        let heading = heading.iter().map(|text| Cell::new(*text, Some(Tone::Heading))).collect();
        Self { rows: std::iter::once(heading).chain(rows).collect(), is_right }
    }

    fn width(&self) -> usize {
        self.rows.iter().flatten().map(Cell::width).max().unwrap_or(0)
    }
}

fn all_widths(columns: &[Column]) -> usize {
    columns.iter().map(|column| GAP.len() + column.width()).sum()
}

fn write_row(text: &mut String, columns: &[Column], row: usize, paint: Paint<'_>) {
    let line_count = columns.iter().map(|column| column.rows[row].len()).max().unwrap_or(0);
    for line in 0..line_count {
        let mut whole = String::new();
        for (number, column) in columns.iter().enumerate() {
            if number > 0 {
                whole.push_str(GAP);
            }
            let (shown, width) = match column.rows[row].get(line) {
                Some(Cell { text, tone: Some(tone) }) if !text.is_empty() => (paint(*tone, text), text.chars().count()),
                Some(cell) => (cell.text.clone(), cell.width()),
                None => (String::new(), 0),
            };
            let pad = " ".repeat(column.width().saturating_sub(width));
            match column.is_right {
                true => whole.extend([pad, shown]),
                false => whole.extend([shown, pad]),
            }
        }
        text.push_str(whole.trim_end());
        text.push('\n');
    }
}

fn name_width(types: &[&TypeFigures]) -> usize {
    let longest = types.iter().map(|one| one.name.chars().count()).max().unwrap_or(0);
    longest.clamp(NAME_WIDTHS.0, NAME_WIDTHS.1)
}

fn name_column(types: &[&TypeFigures], room: usize) -> Column {
    let width = name_width(types).min(room.max(NAME_WIDTHS.0));
    let names =
        types.iter().map(|one| broken(&one.name, width).into_iter().map(|part| Cell::new(part, None)).collect());
    Column::new(&["type"], names, false)
}

/// The name in lines of a width; where there is a word to begin a line with, it does.
fn broken(name: &str, width: usize) -> Vec<String> {
    let mut rest: Vec<char> = name.chars().collect();
    let mut lines = Vec::new();
    while rest.len() > width {
        let word =
            (width / 2..=width).rev().find(|index| rest[*index].is_uppercase() || !rest[*index - 1].is_alphanumeric());
        let others = rest.split_off(word.unwrap_or(width));
        lines.push(std::mem::replace(&mut rest, others).into_iter().collect());
    }
    lines.push(rest.into_iter().collect());
    lines
}

type Figure = (&'static str, fn(&TypeFigures) -> Cell);

/// In twos, as they stand above each other where there is little room.
const FIGURES: [Figure; 9] = [
    ("explicit", |one| Cell::new(grouped(one.explicit_count), None)),
    ("inferred", |one| Cell::new(grouped(one.inferred_count), None)),
    ("matched", |one| Cell::new(grouped(one.matched_count), None)),
    ("different", |one| count(one.different_count, Tone::Warning)),
    ("missing", |one| count(one.missing_count, Tone::Bad)),
    ("extra", |one| count(one.extra_count, Tone::Bad)),
    ("precision", |one| Cell::new(share(one.precision), None)),
    ("recall", |one| Cell::new(share(one.recall), None)),
    ("lag", |one| Cell::new(lag(one.lag_ms), None)),
];

fn figure_columns(types: &[&TypeFigures], line_count: usize) -> Vec<Column> {
    let columns = FIGURES.chunks(line_count).map(|group| {
        let headings: Vec<&str> = group.iter().map(|(heading, _)| *heading).collect();
        let rows = types.iter().map(|one| group.iter().map(|(_, cell)| cell(one)).collect());
        Column::new(&headings, rows, true)
    });
    let verdicts = types.iter().map(|one| verdict(one.judgement.verdict, line_count));
    columns.chain([Column::new(&["verdict"], verdicts, false)]).collect()
}

fn count(number: u64, tone: Tone) -> Cell {
    Cell::new(grouped(number), Some(if number == 0 { Tone::Faint } else { tone }))
}

fn verdict(verdict: Verdict, line_count: usize) -> Vec<Cell> {
    let (words, tone) = (verdict.as_str(), verdict.tone());
    let parts = match verdict {
        _ if line_count == 1 => vec![words],
        Verdict::Unknown => vec!["too few", "to say"],
        Verdict::SafeToInfer => vec!["safe", "to infer"],
        Verdict::InferWithCare => vec!["infer", "with care"],
        Verdict::NeedsAnOutbox => vec!["needs an", "outbox"],
    };
    parts.into_iter().map(|part| Cell::new(part, Some(tone))).collect()
}

impl Verdict {
    /// How it is meant.
    pub fn tone(self) -> Tone {
        match self {
            Self::Unknown => Tone::Faint,
            Self::SafeToInfer => Tone::Good,
            Self::InferWithCare => Tone::Warning,
            Self::NeedsAnOutbox => Tone::Bad,
        }
    }
}

/// A share as people read it: `98.3 %`; a dash where there is none. Only what is whole reads as 100 %, and only nothing as 0 %.
pub fn share(share: Option<f64>) -> String {
    match share {
        None => "-".to_owned(),
        Some(share) if share >= 1.0 => "100 %".to_owned(),
        Some(share) if share <= 0.0 => "0 %".to_owned(),
        Some(share) => format!("{:.1} %", (100.0 * share).clamp(0.1, 99.9)),
    }
}

/// A time span as people read it: `12 ms`, `-1.5 s`, `3.0 min`; a dash where there is none.
pub fn lag(lag_ms: Option<f64>) -> String {
    let Some(lag_ms) = lag_ms else { return "-".to_owned() };
    match lag_ms.abs() {
        0.0..0.5 => "0 ms".to_owned(),
        0.5..1_000.0 => format!("{lag_ms:.0} ms"),
        1_000.0..120_000.0 => format!("{:.1} s", lag_ms / 1_000.0),
        _ => format!("{:.1} min", lag_ms / 60_000.0),
    }
}

/// A number as people read it: `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::Judgement;

    fn of(name: &str, counts: [u64; 4], verdict: Verdict) -> TypeFigures {
        let [matched_count, different_count, missing_count, extra_count] = counts;
        let pairs = (matched_count + different_count) as f64;
        let of_all = |others: u64| (pairs + others as f64 > 0.0).then(|| pairs / (pairs + others as f64));
        TypeFigures {
            name: name.to_owned(),
            is_compared: true,
            explicit_count: matched_count + different_count + missing_count,
            inferred_count: matched_count + different_count + extra_count,
            matched_count,
            different_count,
            missing_count,
            extra_count,
            precision: of_all(extra_count),
            recall: of_all(missing_count),
            lag_ms: (pairs > 0.0).then_some(1.6),
            judgement: Judgement { verdict, reasons: Vec::new() },
            ..TypeFigures::default()
        }
    }

    fn figures() -> Figures {
        let uncompared = TypeFigures { name: "StockTaken".to_owned(), inferred_count: 9, ..TypeFigures::default() };
        let types = vec![
            uncompared,
            of("OrderPaid", [12_000, 0, 0, 0], Verdict::SafeToInfer),
            of("OrderCancelledByTheCustomer", [40, 2, 0, 58], Verdict::NeedsAnOutbox),
            of("PriceCorrected", [0, 0, 7, 0], Verdict::NeedsAnOutbox),
            of("OrderShipped", [9, 1, 0, 0], Verdict::InferWithCare),
        ];
        Figures { types, ..Figures::default() }
    }

    #[test]
    fn a_wide_terminal_has_a_line_for_each_type() {
        let expected = "\
type                         explicit  inferred  matched  different  missing  extra  precision  recall   lag  verdict
OrderPaid                      12,000    12,000   12,000          0        0      0      100 %   100 %  2 ms  safe to infer
OrderCancelledByTheCustomer        42       100       40          2        0     58     42.0 %   100 %  2 ms  needs an outbox
PriceCorrected                      7         0        0          0        7      0          -     0 %     -  needs an outbox
OrderShipped                       10        10        9          1        0      0      100 %   100 %  2 ms  infer with care
";
        assert_eq!(table(&figures(), 140), expected);
    }

    #[test]
    fn eighty_columns_hold_two_lines_for_each_type() {
        let expected = "\
type                 explicit    matched  missing  precision   lag  verdict
                     inferred  different    extra     recall
OrderPaid              12,000     12,000        0      100 %  2 ms  safe
                       12,000          0        0      100 %        to infer
OrderCancelledByThe        42         40        0     42.0 %  2 ms  needs an
Customer                  100          2       58      100 %        outbox
PriceCorrected              7          0        7          -     -  needs an
                            0          0        0        0 %        outbox
OrderShipped               10          9        0      100 %  2 ms  infer
                           10          1        0      100 %        with care
";
        assert_eq!(table(&figures(), 78), expected);
        assert!(table(&figures(), 80).lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn what_is_not_whole_never_reads_as_whole() {
        let shares = [None, Some(0.0), Some(0.000_01), Some(0.999_99), Some(1.0)];
        assert_eq!(shares.map(share), ["-", "0 %", "0.1 %", "99.9 %", "100 %"]);
        assert_eq!(
            [None, Some(-0.2), Some(-3.0), Some(1_540.0), Some(180_000.0)].map(lag),
            ["-", "0 ms", "-3 ms", "1.5 s", "3.0 min"]
        );
    }

    #[test]
    fn colours_do_not_move_columns() {
        let painted = painted_table(&figures(), 140, &|tone, text| match tone {
            Tone::Bad => format!("<{text}>"),
            Tone::Heading | Tone::Good | Tone::Warning | Tone::Faint => text.to_owned(),
        });
        assert!(
            painted.contains("<58>") && painted.contains("<needs an outbox>") && !painted.contains("<0>"),
            "{painted}"
        );
        assert_eq!(painted.replace(['<', '>'], ""), table(&figures(), 140));
        assert_eq!(table(&Figures::default(), 80), "");
    }
}
