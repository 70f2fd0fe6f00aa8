//! The machines.

/// Devices and the links between them. All figures are of one device and one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Devices in all.
    pub devices: u64,
    /// Devices of one machine.
    pub per_node: u64,
    /// Bytes of memory.
    pub memory: f64,
    /// Peak floating-point operations a second at the products' precision.
    pub peak: f64,
    /// Share of the peak that large products reach.
    pub efficiency: f64,
    /// Bytes a second inside a machine.
    pub inside: f64,
    /// Bytes a second between machines.
    pub between: f64,
    /// Seconds until the first byte arrives.
    pub latency: f64,
}

impl Cluster {
    /// `n` devices of a kind: `a100` (80 GB, NVLink, 200 Gbit/s a device), `h100` (80 GB, 400 Gbit/s), `v100` (32 GB, 100 Gbit/s shared by eight). The
    /// efficiency of 0.6 is what Narayanan et al. and Korthikanti et al. report of A100s within a few points; nothing here was run on a GPU.
    pub fn named(name: &str, n: u64) -> Option<Cluster> {
        let kind = |memory, peak, inside, between| Cluster {
            devices: n,
            per_node: 8,
            memory,
            peak,
            efficiency: 0.6,
            inside,
            between,
            latency: 10e-6,
        };
        Some(match name {
            "v100" => kind(32e9, 125e12, 150e9, 1.5e9),
            "a100" => kind(80e9, 312e12, 300e9, 25e9),
            "h100" => kind(80e9, 989e12, 450e9, 50e9),
            _ => return None,
        })
    }

    /// Bytes a second on the slowest link of a ring over `n` devices that stand `stride` apart.
    pub fn link(&self, n: u64, stride: u64) -> f64 {
        if n * stride <= self.per_node { self.inside } else { self.between }
    }
}

/// Seconds that a ring of `n` takes to gather or to scatter `bytes` (the whole, not the share): (n−1)/n of them pass each link, in n−1 turns.
pub fn ring(bytes: f64, n: u64, bandwidth: f64, latency: f64) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let turns = (n - 1) as f64;
    turns / n as f64 * bytes / bandwidth + turns * latency
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_by_hand() {
        assert_eq!(ring(1e9, 1, 1e9, 1.0), 0.0);
        assert!((ring(8e9, 4, 1e9, 0.5) - (6.0 + 1.5)).abs() < 1e-12);
        let c = Cluster::named("a100", 16).unwrap();
        assert_eq!((c.link(8, 1), c.link(16, 1), c.link(2, 8), c.link(2, 4)), (300e9, 25e9, 25e9, 300e9));
    }
}
