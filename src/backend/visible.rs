//! Which slots of a cache a row may attend to.

use std::ops::Range;

/// What each row of a batch may attend to: key slots, in ranges that ascend and are apart. Slots are counted in the order
/// in which rows were appended to the cache, which in a tree is not the order of positions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visible {
    /// Those of all rows, one row after the other.
    ranges: Vec<Range<usize>>,
    /// `[rows]`: where those of each row end.
    ends: Vec<usize>,
}

impl Visible {
    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds a row that sees `ranges`, of which empty ones count for nothing.
    pub fn push(&mut self, ranges: impl IntoIterator<Item = Range<usize>>) {
        self.ranges.extend(ranges.into_iter().filter(|range| !range.is_empty()));
        self.ends.push(self.ranges.len());
    }

    /// Adds a row that sees what row `parent` sees, and `slot`, which is behind all that.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn push_child(&mut self, parent: usize, slot: usize) {
        let first = self.ranges.len();
        self.ranges.extend_from_within(self.place(parent));
        match self.ranges[first..].last_mut() {
            Some(range) if range.end == slot => range.end += 1,
            _ => self.ranges.push(slot..slot + 1),
        }
        self.ends.push(self.ranges.len());
    }

    /// What a row sees.
    ///
    /// # Panics
    /// Where there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[Range<usize>] {
        &self.ranges[self.place(row)]
    }

    /// Where the ranges of a row are.
    fn place(&self, row: usize) -> Range<usize> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[row]
    }

    /// What the rows see, in their order.
    pub fn rows(&self) -> impl Iterator<Item = &[Range<usize>]> {
        (0..self.len()).map(|row| self.row(row))
    }
}

/// Rows that see a range each.
impl FromIterator<Range<usize>> for Visible {
    fn from_iter<I: IntoIterator<Item = Range<usize>>>(ranges: I) -> Self {
        let ranges = ranges.into_iter();
        let (rows, _) = ranges.size_hint();
        let mut visible = Self { ranges: Vec::with_capacity(rows), ends: Vec::with_capacity(rows) };
        ranges.for_each(|range| visible.push([range]));
        visible
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_see_what_they_are_given() {
        let mut visible: Visible = (0..2).map(|row| 0..row + 1).collect();
        visible.push([0..1, 2..3]);
        visible.push([0..0, 7..7]);
        visible.push_child(2, 3);
        visible.push_child(0, 5);
        let ends = |row: &[Range<usize>]| row.iter().map(|range| (range.start, range.end)).collect();
        let rows: Vec<Vec<(usize, usize)>> = visible.rows().map(ends).collect();
        let expected =
            [&[(0, 1)][..], &[(0, 2)], &[(0, 1), (2, 3)], &[], &[(0, 1), (2, 4)], &[(0, 1), (5, 6)]];
        assert_eq!(rows, expected);
        assert_eq!(visible.len(), 6);
    }
}
