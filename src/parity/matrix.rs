//! Which explicit types the rules took for which inferred ones, as a matrix.

use super::figures::Figures;
use super::table::{Paint, Tone, grouped};

/// The cells of [`Figures::matrix`], laid out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix<'f> {
    /// The types, explicit and inferred; each is a row and a column, but for those that would be empty.
    pub rows: Vec<Option<&'f str>>,
    /// See `rows`; `None` stands for events without a partner, and comes last.
    pub columns: Vec<Option<&'f str>>,
    /// How often, by row and column.
    pub counts: Vec<Vec<u64>>,
}

impl<'f> Matrix<'f> {
    /// Lays out the cells: types in the order of the figures, so that what is as it should be lies on the diagonal.
    pub fn new(figures: &'f Figures) -> Self {
        let mut names: Vec<&str> = figures.types.iter().map(|one| one.name.as_str()).collect();
        for name in
            figures.matrix.iter().flat_map(|cell| [cell.explicit.as_deref(), cell.inferred.as_deref()]).flatten()
        {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let has_explicit = |name: Option<&str>| figures.matrix.iter().any(|cell| cell.explicit.as_deref() == name);
        let has_inferred = |name: Option<&str>| figures.matrix.iter().any(|cell| cell.inferred.as_deref() == name);
        let all = || names.iter().copied().map(Some).chain([None]);
        let rows: Vec<Option<&str>> = all().filter(|name| has_explicit(*name)).collect();
        let columns: Vec<Option<&str>> = all().filter(|name| has_inferred(*name)).collect();
        let count = |row: Option<&str>, column: Option<&str>| {
            let is_it =
                |cell: &&super::Confusion| cell.explicit.as_deref() == row && cell.inferred.as_deref() == column;
            figures.matrix.iter().filter(is_it).map(|cell| cell.count).sum()
        };
        let counts = rows.iter().map(|row| columns.iter().map(|column| count(*row, *column)).collect()).collect();
        Self { rows, columns, counts }
    }

    /// True if the cell is one of events that were taken for what they are.
    pub fn is_right(&self, row: usize, column: usize) -> bool {
        self.rows[row].is_some() && self.rows[row] == self.columns[column]
    }

    /// All events of a row.
    pub fn row_count(&self, row: usize) -> u64 {
        self.counts[row].iter().sum()
    }
}

/// The matrix as text, with a line break at the end; nothing where it is empty or wider than `width`. Columns have the numbers of
/// the types, which stand beside their names.
pub fn painted_matrix(figures: &Figures, width: usize, paint: Paint<'_>) -> Option<String> {
    let matrix = Matrix::new(figures);
    let names: Vec<&str> = {
        let columns = matrix.columns.iter().flatten().filter(|name| !matrix.rows.contains(&Some(**name)));
        matrix.rows.iter().flatten().chain(columns).copied().collect()
    };
    if names.is_empty() {
        return None;
    }
    let number = |name: &str| names.iter().position(|one| *one == name).map_or(0, |index| index + 1);
    let label = |name: &str| format!("{:>2} {name}", number(name));
    let heading = "explicit, as inferred";
    let label_width = names.iter().map(|name| label(name).chars().count()).chain([heading.len()]).max().unwrap_or(0);
    let headings =
        matrix.columns.iter().map(|name| name.map_or_else(|| "none".to_owned(), |name| number(name).to_string()));
    let headings: Vec<String> = headings.collect();
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| {
            matrix
                .counts
                .iter()
                .map(|row| grouped(row[column]).len())
                .chain([headings[column].len()])
                .max()
                .unwrap_or(1)
        })
        .collect();
    if label_width + widths.iter().map(|width| width + 2).sum::<usize>() > width {
        return None;
    }
    let mut text = paint(Tone::Heading, &format!("{heading:label_width$}"));
    for (heading, width) in headings.iter().zip(&widths) {
        text.push_str("  ");
        text.push_str(&paint(Tone::Heading, &format!("{heading:>width$}")));
    }
    text.push('\n');
    for (row, name) in matrix.rows.iter().enumerate() {
        let name = name.map_or_else(|| "   none".to_owned(), label);
        text.push_str(&format!("{name:label_width$}"));
        for (column, width) in widths.iter().enumerate() {
            let count = matrix.counts[row][column];
            let (shown, tone) = match count {
                0 => (".".to_owned(), Tone::Faint),
                count if matrix.is_right(row, column) => (grouped(count), Tone::Good),
                count => (grouped(count), Tone::Bad),
            };
            text.push_str("  ");
            text.push_str(&paint(tone, &format!("{shown:>width$}")));
        }
        text.push('\n');
    }
    // A type that the rules alone know has no row that would tell its number.
    for name in names.iter().filter(|name| !matrix.rows.contains(&Some(**name))) {
        text.push_str(&label(name));
        text.push('\n');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::Confusion;

    fn figures() -> Figures {
        let cell = |explicit: Option<&str>, inferred: Option<&str>, count| Confusion {
            explicit: explicit.map(str::to_owned),
            inferred: inferred.map(str::to_owned),
            count,
        };
        let matrix = vec![
            cell(Some("OrderPaid"), Some("OrderPaid"), 1_200),
            cell(Some("PaymentCorrected"), Some("OrderPaid"), 31),
            cell(Some("PaymentCorrected"), None, 2),
            cell(None, Some("StockTaken"), 7),
        ];
        Figures { matrix, ..Figures::default() }
    }

    #[test]
    fn confusions_stand_beside_the_diagonal() {
        let plain = |_: Tone, text: &str| text.to_owned();
        let expected = "\
explicit, as inferred      1  3  none
 1 OrderPaid           1,200  .     .
 2 PaymentCorrected       31  .     2
   none                    .  7     .
 3 StockTaken
";
        assert_eq!(painted_matrix(&figures(), 80, &plain).unwrap(), expected);
        assert_eq!(painted_matrix(&figures(), 30, &plain), None, "it does not fit");
        assert_eq!(painted_matrix(&Figures::default(), 80, &plain), None);
    }

    #[test]
    fn only_what_was_taken_for_itself_is_right() {
        let figures = figures();
        let matrix = Matrix::new(&figures);
        let right: Vec<(usize, usize)> = (0..matrix.rows.len())
            .flat_map(|row| (0..matrix.columns.len()).map(move |column| (row, column)))
            .filter(|(row, column)| matrix.is_right(*row, *column))
            .collect();
        assert_eq!(right, [(0, 0)]);
        assert_eq!(matrix.row_count(1), 33);
    }
}
