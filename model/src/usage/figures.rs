//! The table behind a row of figures: what each is called, counts and is measured in.

/// Figures that one hook or file tells together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    Cpu,
    RunQueue,
    Memory,
    Faults,
    Pressure,
    Network,
    Tcp,
    Io,
    Life,
}

impl Group {
    pub const COUNT: usize = Self::ALL.len();
    pub const ALL: [Self; 9] = [
        Self::Cpu,
        Self::RunQueue,
        Self::Memory,
        Self::Faults,
        Self::Pressure,
        Self::Network,
        Self::Tcp,
        Self::Io,
        Self::Life,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::RunQueue => "run_queue",
            Self::Memory => "memory",
            Self::Faults => "faults",
            Self::Pressure => "pressure",
            Self::Network => "network",
            Self::Tcp => "tcp",
            Self::Io => "io",
            Self::Life => "life",
        }
    }
}

/// How a figure moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only upwards.
    Counter,
    Gauge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Bytes,
    /// Thousandths of one.
    Milli,
    Count,
}

/// One figure of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The field's name, its unit a suffix.
    pub name: &'static str,
    pub group: Group,
    pub kind: Kind,
    pub unit: Unit,
    /// What it is, in one sentence; empty where the name says it.
    pub help: &'static str,
}

/// Declares a row: a struct of 64-bit words with its sources, its table, and the way to words and back.
macro_rules! figures {
    ($(#[$doc:meta])* pub struct $name:ident {
        $($(#[doc = $help:literal])* $field:ident: $group:ident, $kind:ident, $unit:ident;)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $help])* pub $field: u64,)+
            pub sources: $crate::usage::Sources,
        }

        impl $name {
            /// Its figures, in the order of their words.
            pub const FIGURES: &[$crate::usage::Figure] = &[$($crate::usage::Figure {
                name: stringify!($field),
                group: $crate::usage::Group::$group,
                kind: $crate::usage::Kind::$kind,
                unit: $crate::usage::Unit::$unit,
                help: concat!($($help),*),
            },)+];
            pub const WORDS: usize = Self::FIGURES.len();

            pub const fn to_words(&self) -> [u64; Self::WORDS] {
                [$(self.$field),+]
            }

            pub const fn from_words(words: [u64; Self::WORDS], sources: $crate::usage::Sources) -> Self {
                let [$($field),+] = words;
                Self { $($field,)+ sources }
            }
        }
    };
}
pub(super) use figures;
