//! Where on the screen what stands, for any size of it.

use ratatui::layout::Rect;

/// The parts of the screen, from the top. A part that there is no room for has no height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Which cluster, and how current this is.
    pub(super) title: Rect,
    /// CPU, memory, and traffic of the whole cluster.
    pub(super) totals: Rect,
    /// The lists, the filter and the order.
    pub(super) tabs: Rect,
    pub(super) heads: Rect,
    pub(super) rows: Rect,
    /// What keys do.
    pub(super) hints: Rect,
}

/// Lines of the totals.
const TOTALS_HEIGHT: u16 = 3;

impl Layout {
    pub(super) fn of(width: u16, height: u16) -> Self {
        // The rows first, then what makes them understood, then the rest.
        let heads = u16::from(height >= 2);
        let title = u16::from(height >= 3);
        let tabs = u16::from(height >= 5);
        let hints = u16::from(height >= 9);
        let totals = if height >= 14 { TOTALS_HEIGHT } else { 0 };
        let mut y = 0;
        let mut next = |height| {
            let part = Rect { x: 0, y, width, height };
            y += height;
            part
        };
        let (title, totals, tabs, heads) = (next(title), next(totals), next(tabs), next(heads));
        let rows = next(height - title.height - totals.height - tabs.height - heads.height - hints);
        Self { title, totals, tabs, heads, rows, hints: next(hints) }
    }

    /// What the lists have, for whoever is shown in their place.
    pub(super) fn body(&self) -> Rect {
        let (from, to) = (self.totals.y, self.hints.y);
        Rect { y: from, height: to - from, ..self.rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_the_whole_at_any_size() {
        for height in 0..60 {
            let all = Layout::of(80, height);
            let parts = [all.title, all.totals, all.tabs, all.heads, all.rows, all.hints];
            assert_eq!(parts.iter().map(|it| it.height).sum::<u16>(), height, "{all:?}");
            assert!(height == 0 || all.rows.height > 0, "{height}: {all:?}");
            assert!(all.body().bottom() <= height);
        }
    }
}
