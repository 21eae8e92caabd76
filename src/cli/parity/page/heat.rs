//! The matrix as a map of heat: what is as it should be lies on the diagonal, everything else is a confusion.

use std::fmt::Write as _;

use changeling::parity::{Figures, Matrix, grouped};

use super::markup::{escaped, name};

/// The palest and the strongest colour of a cell that is not empty, in percent.
const HEAT: (u64, u64) = (14, 100);

/// The matrix; nothing where no events are.
pub fn matrix(figures: &Figures) -> Option<String> {
    let matrix = Matrix::new(figures);
    if matrix.rows.is_empty() {
        return None;
    }
    let mut text = "<p>A row for each explicit type: what the rules made of the changes behind it. Green is right; \
        red is an event that was taken for another, missed, or made without need. The stronger, the more of the row it is.</p>\n\
        <div class=\"scroll\">\n<table class=\"matrix\">\n<thead>\n<tr><th scope=\"col\" class=\"corner\">explicit \u{2193} \
        as inferred \u{2192}</th>"
        .to_owned();
    for column in &matrix.columns {
        // Writing to a string can not fail, here and below.
        let _ = write!(text, "<th scope=\"col\"><span>{}</span></th>", column.map_or_else(none, name));
    }
    text.push_str("</tr>\n</thead>\n<tbody>\n");
    for (row, explicit) in matrix.rows.iter().enumerate() {
        let _ = write!(text, "<tr><th scope=\"row\">{}</th>", explicit.map_or_else(none, name));
        for (column, inferred) in matrix.columns.iter().enumerate() {
            text.push_str(&cell(&matrix, row, column, *explicit, *inferred));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody>\n</table>\n</div>\n");
    Some(text)
}

fn none() -> String {
    "<i>none</i>".to_owned()
}

fn cell(matrix: &Matrix<'_>, row: usize, column: usize, explicit: Option<&str>, inferred: Option<&str>) -> String {
    let count = matrix.counts[row][column];
    if count == 0 {
        return "<td class=\"empty\">\u{b7}</td>".to_owned();
    }
    let heat = (100 * count / matrix.row_count(row).max(1)).clamp(HEAT.0, HEAT.1);
    let class = if matrix.is_right(row, column) { "right" } else { "wrong" };
    let count = grouped(count);
    let told = match (explicit, inferred) {
        (Some(explicit), Some(inferred)) if explicit == inferred => {
            format!("{count} x {explicit}, and inferred as such")
        }
        (Some(explicit), Some(inferred)) => format!("{count} x {explicit}, inferred as {inferred}"),
        (Some(explicit), None) => format!("{count} x {explicit}, and no rule made an event"),
        (None, Some(inferred)) => format!("{count} x {inferred} inferred, and no explicit event"),
        (None, None) => String::new(),
    };
    let told = escaped(&told);
    format!("<td class=\"{class}\" style=\"--heat: {heat}%\" title=\"{told}\">{count}</td>")
}
