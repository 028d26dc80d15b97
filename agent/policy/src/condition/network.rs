//! Addresses and networks in CIDR form.

use std::net::IpAddr;

/// A network; a single address is one with all bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    first: u128,
    last: u128,
    v6: bool,
}

impl Network {
    /// Reads `10.0.0.0/8`, `fe80::/10`, `1.2.3.4`; none when it is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, Some(bits.parse::<u32>().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let (number, v6) = number(address);
        let width = if v6 { 128 } else { 32 };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return None;
        }
        // The host part: all bits but the first `bits` of `width`.
        let host = u128::MAX.checked_shl(width - bits).map_or(u128::MAX, |net| !net);
        Some(Self { first: number & !host, last: number | host, v6 })
    }

    /// As the kernel's table has it, which knows IPv4 as IPv6 maps it.
    pub(crate) const fn mapped(self) -> hostward_event::scope::Network {
        let bits = (self.first ^ self.last).leading_zeros();
        let front = if self.v6 { 0 } else { 0xffff << 32 };
        hostward_event::scope::Network { address: front | self.first, bits }
    }

    /// An address of the other family is in no network.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let (number, v6) = number(address.to_canonical());
        v6 == self.v6 && (self.first..=self.last).contains(&number)
    }
}

fn number(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), false),
        IpAddr::V6(address) => (address.to_bits(), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_other_family() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "1.2.3.4", false),
            ("::/0", "ffff::", true),
            ("fe80::/10", "febf::1", true),
            ("fe80::/10", "fec0::1", false),
            ("1.2.3.4", "1.2.3.4", true),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
        ];
        for (network, address, want) in cases {
            assert_eq!(
                Network::parse(network).unwrap().contains(address.parse().unwrap()),
                want,
                "{network} {address}"
            );
        }
        for bad in ["10.0.0.0/33", "10.0.0", "::/129", "x", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
