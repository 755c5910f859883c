//! What is counted of a container's sockets: packets by protocol and IP version (`programs/net.rs`), and what TCP says of
//! its connections (`programs/tcp.rs`).

use crate::Histogram;

words! {
    /// Packets of one kind, one way. Bytes are counted from the IP header up.
    Packets { bytes, packets }
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Protocol {
    Tcp = 0,
    Udp = 1,
    /// ICMP, SCTP, raw sockets, and IPv6 with extension headers before anything else.
    Other = 2,
}

impl Protocol {
    pub const COUNT: usize = 3;
    pub const ALL: [Self; Self::COUNT] = [Self::Tcp, Self::Udp, Self::Other];
}

/// By which version of IP it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Version {
    V4 = 0,
    V6 = 1,
}

impl Version {
    pub const COUNT: usize = 2;
}

/// Packets one way, by [`Protocol`] and [`Version`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    rows: [[Packets; Version::COUNT]; Protocol::COUNT],
}

impl Traffic {
    pub const WORDS: usize = Protocol::COUNT * Version::COUNT * Packets::WORDS;

    pub const fn of(&self, protocol: Protocol, version: Version) -> Packets {
        self.rows[protocol as usize][version as usize]
    }

    /// For the programs, which count, and for tests.
    pub const fn row(&mut self, protocol: Protocol, version: Version) -> &mut Packets {
        &mut self.rows[protocol as usize][version as usize]
    }

    /// Of both versions of IP.
    pub fn by(&self, protocol: Protocol) -> Packets {
        let mut sum = self.of(protocol, Version::V4);
        sum.add(&self.of(protocol, Version::V6));
        sum
    }

    /// Of all protocols.
    pub fn all(&self) -> Packets {
        let mut sum = Packets::default();
        for protocol in Protocol::ALL {
            sum.add(&self.by(protocol));
        }
        sum
    }

    fn take(words: &mut impl Iterator<Item = u64>) -> Self {
        Self { rows: core::array::from_fn(|_| core::array::from_fn(|_| Packets::take(words))) }
    }

    fn add(&mut self, other: &Self) {
        for (here, there) in self.rows.as_flattened_mut().iter_mut().zip(other.rows.as_flattened()) {
            here.add(there);
        }
    }
}

/// Packets of sockets that were made in the container.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetCounters {
    pub rx: Traffic,
    pub tx: Traffic,
}

/// Connections of sockets that were made in the container.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// Segments sent again.
    pub retransmits: u64,
    /// Connections that it began and that were established.
    pub connects: u64,
    /// Connections that others began with it and that were established.
    pub accepts: u64,
    /// Smoothed round-trip times, one a measurement.
    pub rtt: Histogram,
}

/// Everything that is counted per CPU of one container's sockets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounters {
    pub net: NetCounters,
    pub tcp: TcpCounters,
}

impl SocketCounters {
    pub const WORDS: usize = 2 * Traffic::WORDS + 3 + Histogram::WORDS;

    pub fn from_words(words: [u64; Self::WORDS]) -> Self {
        let words = &mut words.into_iter();
        // Fields are read in the order they are declared, which `repr(C)` makes their order in memory.
        let net = NetCounters { rx: Traffic::take(words), tx: Traffic::take(words) };
        let mut next = || words.next().unwrap_or(0);
        let (retransmits, connects, accepts) = (next(), next(), next());
        Self { net, tcp: TcpCounters { retransmits, connects, accepts, rtt: Histogram::take(words) } }
    }

    /// Adds another CPU's copy to this one.
    pub fn add(&mut self, other: &Self) {
        self.net.rx.add(&other.net.rx);
        self.net.tx.add(&other.net.tx);
        self.tcp.retransmits = self.tcp.retransmits.wrapping_add(other.tcp.retransmits);
        self.tcp.connects = self.tcp.connects.wrapping_add(other.tcp.connects);
        self.tcp.accepts = self.tcp.accepts.wrapping_add(other.tcp.accepts);
        self.tcp.rtt.add(&other.tcp.rtt);
    }
}

const _: () = assert!(size_of::<SocketCounters>() == 8 * SocketCounters::WORDS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_to_the_fields_in_their_order() {
        let read = SocketCounters::from_words(core::array::from_fn(|index| index as u64));
        assert_eq!(read.net.rx.of(Protocol::Tcp, Version::V4), Packets { bytes: 0, packets: 1 });
        assert_eq!(read.net.rx.of(Protocol::Udp, Version::V6), Packets { bytes: 6, packets: 7 });
        assert_eq!(read.net.tx.of(Protocol::Other, Version::V6), Packets { bytes: 22, packets: 23 });
        assert_eq!((read.tcp.retransmits, read.tcp.connects, read.tcp.accepts), (24, 25, 26));
        assert_eq!((read.tcp.rtt.buckets[0], read.tcp.rtt.sum_ns), (27, 53));
    }

    #[test]
    fn a_sum_adds_every_word() {
        let one = SocketCounters::from_words(core::array::from_fn(|index| index as u64 + 1));
        let mut sum = one;
        sum.add(&one);
        assert_eq!(sum, SocketCounters::from_words(core::array::from_fn(|index| 2 * (index as u64 + 1))));
    }

    #[test]
    fn all_is_the_sum_of_the_protocols() {
        let mut traffic = Traffic::default();
        *traffic.row(Protocol::Tcp, Version::V4) = Packets { bytes: 1, packets: 10 };
        *traffic.row(Protocol::Tcp, Version::V6) = Packets { bytes: 2, packets: 20 };
        *traffic.row(Protocol::Other, Version::V6) = Packets { bytes: 4, packets: 40 };
        assert_eq!(traffic.by(Protocol::Tcp), Packets { bytes: 3, packets: 30 });
        assert_eq!(traffic.all(), Packets { bytes: 7, packets: 70 });
    }
}
