//! Network namespaces of this run's own, alone or joined by a veth pair, set up by rtnetlink (rtnetlink(7)). They have no
//! name: they end with the last descriptor and the last process in them, so nothing is left to remove.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

// linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/neighbour.h, linux/netlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWNEIGH: u16 = 28;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;
const IFF_UP: u32 = 1;

const LOOPBACK_INDEX: u32 = 1;
const VETH_INDEX: u32 = 2;
/// The name of the veth interface in either of its namespaces.
pub(super) const VETH: &str = "bench";

pub(super) struct Namespace {
    file: File,
}

/// What an interface has counted (`/proc/net/dev`); bytes are those of Ethernet frames without checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) rx_bytes: u64,
    pub(super) rx_packets: u64,
    pub(super) tx_bytes: u64,
    pub(super) tx_packets: u64,
}

impl Namespace {
    /// One with nothing but a loopback interface. IPv6 is off, since it talks by itself.
    pub(super) fn new() -> anyhow::Result<Self> {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
            for of in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6");
                // Not there on a kernel without IPv6.
                let _ = fs::write(path, "1");
            }
            request(RTM_NEWLINK, 0, &link(LOOPBACK_INDEX, IFF_UP))?;
            Ok(Self { file: File::open("/proc/thread-self/ns/net")? })
        };
        on_a_thread(make)
    }

    /// Two, with a veth pair between them, and the address of each end.
    pub(super) fn pair() -> anyhow::Result<[(Self, Ipv4Addr); 2]> {
        let [first, second] = [Self::new()?, Self::new()?];
        let hardware = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
        let addresses = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        first.within(|| {
            let mut peer = link(VETH_INDEX, 0);
            attribute(&mut peer, IFLA_IFNAME, VETH.as_bytes());
            attribute(&mut peer, IFLA_ADDRESS, &hardware[1]);
            attribute(&mut peer, IFLA_NET_NS_FD, &second.file.as_raw_fd().to_ne_bytes());
            let (mut data, mut info) = (Vec::new(), Vec::new());
            attribute(&mut data, VETH_INFO_PEER, &peer);
            attribute(&mut info, IFLA_INFO_KIND, b"veth");
            attribute(&mut info, IFLA_INFO_DATA, &data);
            let mut link = link(VETH_INDEX, 0);
            attribute(&mut link, IFLA_IFNAME, VETH.as_bytes());
            attribute(&mut link, IFLA_ADDRESS, &hardware[0]);
            attribute(&mut link, IFLA_LINKINFO, &info);
            request(RTM_NEWLINK, NLM_F_CREATE, &link).context("make a veth pair")
        })?;
        for (at, namespace) in [&first, &second].into_iter().enumerate() {
            let other = 1 - at;
            namespace.within(|| {
                let mut address = vec![libc::AF_INET as u8, 24, 0, 0];
                address.extend(VETH_INDEX.to_ne_bytes());
                attribute(&mut address, IFA_LOCAL, &addresses[at].octets());
                attribute(&mut address, IFA_ADDRESS, &addresses[at].octets());
                request(RTM_NEWADDR, NLM_F_CREATE, &address)?;
                request(RTM_NEWLINK, 0, &link(VETH_INDEX, IFF_UP))?;
                // Known beforehand, so that no question about it is counted.
                let mut neighbour = vec![libc::AF_INET as u8, 0, 0, 0];
                neighbour.extend(VETH_INDEX.to_ne_bytes());
                neighbour.extend(NUD_PERMANENT.to_ne_bytes());
                neighbour.extend([0, 0]);
                attribute(&mut neighbour, NDA_DST, &addresses[other].octets());
                attribute(&mut neighbour, NDA_LLADDR, &hardware[other]);
                request(RTM_NEWNEIGH, NLM_F_CREATE, &neighbour)
            })?;
        }
        Ok([(first, addresses[0]), (second, addresses[1])])
    }

    /// A path by which other processes can enter it while this process holds it.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    pub(super) fn interface(&self, name: &str) -> anyhow::Result<Interface> {
        let text = self.within(|| Ok(fs::read_to_string("/proc/thread-self/net/dev")?))?;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'));
        let words = line.with_context(|| format!("no interface {name}"))?.split_ascii_whitespace();
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        ensure!(numbers.len() >= 10, "{name}: a line of /proc/net/dev that is too short");
        let [rx_bytes, rx_packets, tx_bytes, tx_packets] = [0, 1, 8, 9].map(|at| numbers[at]);
        Ok(Interface { rx_bytes, rx_packets, tx_bytes, tx_packets })
    }

    fn within<T: Send>(&self, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        on_a_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).context("enter a network namespace")?;
            work()
        })
    }
}

/// A namespace is a thread's; one of its own leaves the others where they are.
fn on_a_thread<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join().expect("the thread does not panic"))
}

/// `struct ifinfomsg`.
fn link(index: u32, flags: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), flags.to_ne_bytes()].concat()
}

/// Appends an attribute: its length, its number, its value, padded to four bytes.
fn attribute(to: &mut Vec<u8>, number: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("a short message");
    to.extend(length.to_ne_bytes());
    to.extend(number.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Sends a request of routing netlink in this thread's namespace and waits for its acknowledgement.
fn request(kind: u16, flags: u16, body: &[u8]) -> anyhow::Result<()> {
    let netlink: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let length = u32::try_from(16 + body.len()).expect("a short message");
    let mut message = Vec::from(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    sendto(netlink.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 4096];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    ensure!(length >= 20, "a short answer of netlink");
    ensure!(u16::from_ne_bytes([answer[4], answer[5]]) == NLMSG_ERROR, "netlink does not acknowledge");
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if code != 0 {
        return Err(std::io::Error::from_raw_os_error(-code)).context("a request to netlink");
    }
    Ok(())
}
