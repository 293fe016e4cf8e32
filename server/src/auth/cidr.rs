//! Groups of addresses that roles may be bound to (`ACCESS FROM CIDRS {'office'}`): named lists of networks from the configuration.
//!
//! Cassandra keeps them in `system_auth.cidr_groups`, filled by nodetool; here the operator's file says them, and that table shows them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

/// A network: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    /// Its first address.
    pub address: IpAddr,
    /// How many leading bits all its addresses share.
    pub bits: u8,
}

/// Networks by the names of their groups.
pub type CidrGroups = BTreeMap<String, Vec<Cidr>>;

impl Cidr {
    /// Whether the address lies in it. An IPv4 address inside IPv6 counts as the IPv4 address it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => shares(
                u32::from(own).into(),
                u32::from(other).into(),
                self.bits,
                32,
            ),
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                shares(own.into(), other.into(), self.bits, 128)
            }
            _ => false,
        }
    }
}

/// Whether two numbers of `width` bits have the same first `bits`.
fn shares(one: u128, other: u128, bits: u8, width: u32) -> bool {
    let behind = width.saturating_sub(bits.into());
    (one ^ other).checked_shr(behind).unwrap_or(0) == 0
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("'{text}' is no network: expected an address, a slash and a number of bits");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        match bits <= width {
            true => Ok(Cidr { address, bits }),
            false => Err(wrong()),
        }
    }
}

/// The groups of the configuration.
pub fn groups(settings: &BTreeMap<String, Vec<String>>) -> Result<CidrGroups, String> {
    let mut groups = CidrGroups::new();
    for (name, networks) in settings {
        let networks: Result<Vec<Cidr>, String> =
            networks.iter().map(|network| network.parse()).collect();
        let networks = networks.map_err(|error| format!("cidr_groups.{name}: {error}"))?;
        groups.insert(name.clone(), networks);
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network
            .parse::<Cidr>()
            .unwrap()
            .contains(address.parse().unwrap())
    }

    #[test]
    fn an_address_lies_in_the_networks_that_share_its_first_bits() {
        assert!(contains("10.0.0.0/8", "10.200.3.4"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "11.0.0.1"));
        assert!(contains("192.0.2.7/32", "192.0.2.7"));
        assert!(!contains("192.0.2.7/32", "192.0.2.6"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(contains("2001:db8::/32", "2001:db8:5::1"));
        assert!(contains("::/0", "2001:db8:5::1"));
        assert!(!contains("::/0", "10.0.0.1"));
        for wrong in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Cidr>().is_err());
        }
    }
}
