//! How processes find one another: each leaves its name in the store, rank 0 sees that all have come, and each takes the address at which the others
//! reach it.

use crate::{Error, Place};
use native::Store;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

/// Where a process lives, as the others read it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Home {
    /// Tells apart what loopback does not connect: the host's name and its network namespace.
    machine: String,
    /// The address by which the rendezvous was reached.
    address: IpAddr,
}

impl Home {
    fn here(place: &Place) -> Home {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let network = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
        let master = (place.host.as_str(), place.port).to_socket_addrs().ok().and_then(|mut found| found.next());
        let address = master.and_then(towards).unwrap_or(IpAddr::from([127, 0, 0, 1]));
        Home { machine: format!("{}|{}", name.trim(), network.display()), address }
    }

    fn to_line(&self) -> String {
        format!("{}\t{}", self.machine, self.address)
    }

    fn from_line(line: &str) -> Option<Home> {
        let (machine, address) = line.split_once('\t')?;
        Some(Home { machine: machine.to_owned(), address: address.parse().ok()? })
    }
}

/// The address of ours from which packets to `target` leave. Nothing is sent.
fn towards(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Waits until all have come; the address (or, the second value being true, the network interface) at which the others reach this process.
pub(crate) fn address(store: &Store, place: &Place, patience: Duration) -> Result<(String, bool), Error> {
    let failed =
        |reason: String| Error::Meeting { rank: place.rank, size: place.size, address: format!("{}:{}", place.host, place.port), reason };
    let engine = |e: native::NativeError| failed(e.to_string());
    store.set(&format!("home/{}", place.rank), Home::here(place).to_line().as_bytes()).map_err(engine)?;
    if place.rank == 0 {
        let said = gather(store, place, patience).unwrap_or_else(|missing| format!("!{missing}"));
        store.set("homes", said.as_bytes()).map_err(engine)?;
    }
    // Rank 0 answers within its own patience; a little more for the way.
    let said = store.get("homes", patience + Duration::from_secs(10)).map_err(|e| failed(format!("no word from rank 0 ({e})")))?;
    let said = String::from_utf8_lossy(&said).into_owned();
    if let Some(missing) = said.strip_prefix('!') {
        return Err(failed(missing.to_owned()));
    }
    let homes: Vec<Home> = said.lines().filter_map(Home::from_line).collect();
    let interface = std::env::var("GLOO_SOCKET_IFNAME").ok();
    choose(&homes, place.rank, interface, towards)
        .ok_or_else(|| failed("the list of processes is not readable: are all of one version?".into()))
}

/// What rank 0 hears from everybody, one line each; or who did not come.
fn gather(store: &Store, place: &Place, patience: Duration) -> Result<String, String> {
    let until = Instant::now() + patience;
    let mut lines = String::new();
    let mut missing = Vec::new();
    for rank in 0..place.size {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match store.get(&format!("home/{rank}"), left) {
            Ok(line) => lines += &format!("{}\n", String::from_utf8_lossy(&line)),
            Err(_) => missing.push(rank.to_string()),
        }
    }
    if missing.is_empty() {
        return Ok(lines);
    }
    Err(format!(
        "after {} s these ranks had not come: {} (DIST_JOIN_TIMEOUT_S sets how long to wait)",
        patience.as_secs(),
        missing.join(", ")
    ))
}

/// Loopback where all live on one machine; else the interface that the user names; else the address by which the others are reached.
fn choose(
    homes: &[Home],
    rank: usize,
    interface: Option<String>,
    towards: impl Fn(SocketAddr) -> Option<IpAddr>,
) -> Option<(String, bool)> {
    let mine = homes.get(rank)?;
    if let Some(name) = interface.filter(|name| !name.is_empty()) {
        return Some((name, true));
    }
    if homes.iter().all(|home| home.machine == mine.machine) {
        return Some(("127.0.0.1".into(), false));
    }
    if !mine.address.is_loopback() {
        return Some((mine.address.to_string(), false));
    }
    // We serve the rendezvous and know it as ourselves; somebody elsewhere shows the way out.
    let elsewhere = homes.iter().find(|home| home.machine != mine.machine && !home.address.is_loopback())?;
    Some((towards(SocketAddr::new(elsewhere.address, 9))?.to_string(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(machine: &str, address: &str) -> Home {
        Home { machine: machine.into(), address: address.parse().unwrap() }
    }

    #[test]
    fn each_takes_the_address_that_the_others_reach() {
        let out = |_: SocketAddr| Some("10.0.0.1".parse().unwrap());
        let one = [home("a", "127.0.0.1"), home("a", "127.0.0.1")];
        assert_eq!(choose(&one, 1, None, out), Some(("127.0.0.1".into(), false)));
        let two = [home("a", "127.0.1.1"), home("a", "127.0.1.1"), home("b", "10.0.0.2")];
        assert_eq!(choose(&two, 0, None, out), Some(("10.0.0.1".into(), false)));
        assert_eq!(choose(&two, 2, None, out), Some(("10.0.0.2".into(), false)));
        assert_eq!(choose(&two, 2, Some("eth1".into()), out), Some(("eth1".into(), true)));
        assert_eq!(choose(&two, 3, None, out), None);
    }

    #[test]
    fn a_home_survives_the_store() {
        let home = home("host|net:[1]", "fe80::1");
        assert_eq!(Home::from_line(&home.to_line()), Some(home));
    }
}
