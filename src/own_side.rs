//! Whether a connection failed on this side of the wire. An outage is believed when nobody answers, and whoever can use up
//! this service's file descriptors, ports or memory (connections that are opened and held are enough) would otherwise make
//! everybody silent, and with that an emergency.

use std::error::Error;
use std::fs::File;
use std::io;
use std::iter::successors;

use rustix::io::Errno;

/// No descriptor left in this process, none in the system, no room for sockets, no memory, no port left.
const RAN_OUT: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
/// How many files must open at once before a silence without a reason of the system is believed.
const SPARE: usize = 16;

/// Whether this error says nothing against the other side: something ran out here, or the other side answered and TLS did not
/// hold, by its certificate perhaps. In doubt it does: an emergency can be declared all the same.
#[must_use]
pub(crate) fn is_ours(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        let short = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        short.is_some_and(|code| RAN_OUT.iter().any(|ran_out| ran_out.raw_os_error() == code))
            || cause.is::<rustls::Error>()
    })
}

/// Whether files can still be opened here. Asked after a silence: a resolver without descriptors does not say so, but that
/// the name is not known now.
#[must_use]
pub(crate) fn has_descriptors() -> bool {
    let opened: Vec<_> = (0..SPARE).map(|_| File::open("/dev/null")).collect();
    opened.iter().all(|file| !file.as_ref().is_err_and(|error| is_ours(error)))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |cause| {
        // What an I/O error was made of is not its source: that is the source of what it was made of.
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.map(|inner| -> &(dyn Error + 'static) { inner }).or_else(|| (*cause).source())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("it failed")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn what_ran_out_here_is_ours_and_a_refused_or_broken_connection_is_not() {
        for (code, ours) in [
            (24, true),
            (23, true),
            (105, true),
            (12, true),
            (99, true),
            // ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT
            (111, false),
            (104, false),
            (113, false),
            (101, false),
            (110, false),
        ] {
            let plain = || io::Error::from_raw_os_error(code);
            assert_eq!(is_ours(&plain()), ours, "{code}");
            assert_eq!(is_ours(&Wrapped(plain())), ours, "{code} as a source");
            assert_eq!(is_ours(&io::Error::other(Wrapped(plain()))), ours, "{code} within another");
        }
        assert!(!is_ours(&io::Error::from(io::ErrorKind::UnexpectedEof)));
    }

    #[test]
    fn a_certificate_that_does_not_verify_was_shown_by_somebody() {
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        assert!(is_ours(&Wrapped(io::Error::new(io::ErrorKind::InvalidData, expired))));
        let other = io::Error::new(io::ErrorKind::InvalidData, "the stream ended");
        assert!(!is_ours(&Wrapped(other)));
    }

    #[test]
    fn there_are_descriptors_here() {
        assert!(has_descriptors());
    }
}
