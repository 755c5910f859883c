//! The latest values of something, oldest first, as many as a sparkline can show.

/// A ring of `N` values. What is not known is not a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct History<const N: usize> {
    values: [f32; N],
    /// Where the next one goes.
    next: u8,
}

impl<const N: usize> Default for History<N> {
    fn default() -> Self {
        const { assert!(N > 0 && N <= u8::MAX as usize) };
        Self { values: [f32::NAN; N], next: 0 }
    }
}

impl<const N: usize> History<N> {
    pub(super) fn push(&mut self, value: Option<f32>) {
        self.values[usize::from(self.next)] = value.unwrap_or(f32::NAN);
        self.next = (self.next + 1) % N as u8;
    }

    /// The latest `count` values, oldest first.
    pub(super) fn latest(&self, count: usize) -> impl Iterator<Item = Option<f32>> {
        let count = count.min(N);
        let begin = usize::from(self.next) + N - count;
        (begin..begin + count).map(|at| Some(self.values[at % N]).filter(|it| !it.is_nan()))
    }
}

/// A sparkline: one symbol a value, `symbols` from nothing to all of `full`; a blank where nothing is known.
pub(super) fn spark(values: impl Iterator<Item = Option<f32>>, full: f32, symbols: &[char]) -> String {
    let top = symbols.len() - 1;
    let symbol = |value: f32| {
        if full <= 0.0 || value <= 0.0 {
            return symbols[0];
        }
        // What is more than nothing shows.
        symbols[((value / full * top as f32).ceil() as usize).clamp(1, top)]
    };
    values.map(|it| it.map_or(' ', symbol)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_come_last_and_what_never_was_is_blank() {
        let mut history = History::<4>::default();
        let shown = |it: &History<4>, count| spark(it.latest(count), 8.0, &['.', '1', '2', '3', '4']);
        assert_eq!(shown(&history, 4), "    ");
        for value in [Some(8.0), None, Some(0.0), Some(0.1), Some(4.0)] {
            history.push(value);
        }
        assert_eq!((&*shown(&history, 4), &*shown(&history, 2)), (" .12", "12"));
        assert_eq!(shown(&history, 9).len(), 4);
        history.push(Some(1e9));
        assert_eq!(shown(&history, 1), "4", "above the scale is all of it");
    }

    #[test]
    fn a_scale_of_nothing_shows_nothing() {
        assert_eq!(spark([Some(3.0)].into_iter(), 0.0, &['_', '#']), "_");
    }
}
