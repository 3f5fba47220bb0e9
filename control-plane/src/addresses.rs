//! At which addresses the control plane can be reached.

use std::net::IpAddr;
use std::sync::OnceLock;

/// What was configured; else where it listens; else, listening everywhere, every
/// address of this machine that others can use.
pub fn advertised(configured: &[String], listens: IpAddr, port: u16) -> Vec<String> {
    if !configured.is_empty() {
        return configured.to_vec();
    }
    let join = |ip: IpAddr| std::net::SocketAddr::new(ip, port).to_string();
    if !listens.is_unspecified() {
        return vec![join(listens)];
    }
    let mut found: Vec<IpAddr> = machine_addresses();
    if found.is_empty() {
        found.push(IpAddr::from([127, 0, 0, 1]));
    }
    found.into_iter().map(join).collect()
}

/// Whether only this machine can use any of them.
pub fn only_loopback(addresses: &[String]) -> bool {
    addresses.iter().all(|address| {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// The names and addresses for the server's certificate.
pub fn names_of(addresses: &[String]) -> Vec<String> {
    let host = |address: &String| {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        host.trim_matches(['[', ']']).to_owned()
    };
    let mut names: Vec<String> = addresses.iter().map(host).collect();
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    names.sort();
    names.dedup();
    names
}

/// The one that leads out first, then IPv4 before IPv6, without loopback and
/// link-local ones: a list for a join code, which must stay short. Asked of the
/// system once.
fn machine_addresses() -> Vec<IpAddr> {
    static FOUND: OnceLock<Vec<IpAddr>> = OnceLock::new();
    FOUND.get_or_init(find_machine_addresses).clone()
}

fn find_machine_addresses() -> Vec<IpAddr> {
    const MOST: usize = 4;
    let mut found = Vec::new();
    let networks = sysinfo::Networks::new_with_refreshed_list();
    for network in networks.iter().flat_map(|networks| networks.values()) {
        for one in network.ip_networks() {
            let usable = match one.addr {
                IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
                IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
            };
            if usable {
                found.push(one.addr);
            }
        }
    }
    let outward = outward_address();
    found.sort_by_key(|address| (Some(*address) != outward, *address));
    found.dedup();
    found.truncate(MOST);
    found
}

/// From which address this machine would reach the world. Connecting a datagram
/// socket sends nothing; the address is one kept for documents.
fn outward_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((std::net::Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_is_what_is_said() {
        let listens = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(advertised(&["cp.example:7443".into()], listens, 1), ["cp.example:7443"]);
        assert_eq!(advertised(&[], listens, 7443), ["10.0.0.1:7443"]);
    }

    #[test]
    fn loopback_is_noticed_however_it_is_written() {
        let text = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        assert!(only_loopback(&text(&["127.0.0.1:7443", "[::1]:7443", "localhost:1"])));
        assert!(!only_loopback(&text(&["127.0.0.1:7443", "10.0.0.1:7443"])));
        assert_eq!(names_of(&text(&["[fd00::1]:7443"])), ["127.0.0.1", "::1", "fd00::1"]);
    }
}
