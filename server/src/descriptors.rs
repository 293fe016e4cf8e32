//! File descriptors: as many as the operator allows, and some of them kept from clients.
//!
//! A server without a free descriptor can read no SSTable, begin no log segment and replace no anchor or keyring: it would refuse every table while clients idle.
//! So connections may have what `connections_max` says or what is left beside the reserve, whichever is less.

use rustix::process::{Resource, getrlimit};

use crate::resource_limit;

/// Descriptors that no connection gets: SSTables, the log, the keyring and what stands beside it, calls to key services, scrapers.
const RESERVE: usize = 4096;

/// Raises the limit to what the operator allows.
pub fn raise_limit() {
    resource_limit::raise(Resource::Nofile);
}

/// How many sockets of clients there may be at a time.
#[derive(Debug, PartialEq)]
pub struct Places {
    /// Those that are served.
    pub connections: usize,
    /// Those that are one too many and are told so; of the reserve.
    pub refusals: usize,
}

impl Places {
    /// As many as are wanted, as far as descriptors go; said, if they do not.
    pub fn granted(wanted: Places) -> Places {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        let granted = wanted.within(limit);
        if granted.connections < wanted.connections {
            tracing::warn!(
                connections_max = wanted.connections,
                granted = granted.connections,
                descriptors = limit,
                "fewer connections than connections_max are accepted: file descriptors (ulimit -n, LimitNOFILE) are too few"
            );
        }
        granted
    }

    /// Where descriptors are scarce, half of them are the reserve.
    fn within(&self, limit: usize) -> Places {
        Places {
            connections: self.connections.min(limit - RESERVE.min(limit / 2)),
            refusals: self.refusals.min(limit / 8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_reserve_to_files() {
        let places = |connections, refusals| Places {
            connections,
            refusals,
        };
        for (wanted, limit, granted) in [
            (places(20_000, 256), usize::MAX, places(20_000, 256)),
            (places(20_000, 256), 24_096, places(20_000, 256)),
            (places(20_000, 256), 24_095, places(19_999, 256)),
            (places(20_000, 256), 1024, places(512, 128)),
            (places(100, 256), 1024, places(100, 128)),
            (places(1, 256), 1 << 20, places(1, 256)),
            (places(20_000, 256), 0, places(0, 0)),
        ] {
            assert_eq!(wanted.within(limit), granted, "{wanted:?} of {limit}");
        }
    }
}
