//! Free ports on the loopback address.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;
use std::time::SystemTime;

/// Below the range from which systems take ports for outgoing connections, so that a server that is started again finds
/// its port free.
const PORTS: std::ops::Range<u32> = 20_000..32_000;

/// A port that nobody listens on and that this process has not handed out before.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    static HANDED_OUT: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut guard = HANDED_OUT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let handed_out = guard.get_or_insert_default();
    let nanoseconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    // Another process starts elsewhere in the range.
    let first = nanoseconds.wrapping_add(std::process::id().wrapping_mul(7_919)) % PORTS.len() as u32;
    let count = PORTS.len() as u32;
    (0..count)
        .filter_map(|offset| u16::try_from(PORTS.start + (first + offset) % count).ok())
        .find(|port| !handed_out.contains(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .inspect(|port| {
            handed_out.insert(*port);
        })
        .expect("one of 12,000 ports is free")
}
