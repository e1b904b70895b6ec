//! Error numbers as a guest knows them: those of preview 1, and 77 to 87, which the extension adds for name
//! lookups.

/// A number of the guest's; never zero, which means success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub u16);

pub type Result<T> = std::result::Result<T, Errno>;

impl Errno {
    pub const ACCES: Self = Self(2);
    pub const BADF: Self = Self(8);
    pub const FAULT: Self = Self(21);
    pub const INVAL: Self = Self(28);
    pub const IO: Self = Self(29);
    pub const MFILE: Self = Self(33);
    pub const NAMETOOLONG: Self = Self(37);
    pub const NOMEM: Self = Self(48);
    pub const NOSYS: Self = Self(52);
    pub const NOTSOCK: Self = Self(57);
    pub const NOTSUP: Self = Self(58);
    pub const AI_BADFLAG: Self = Self(79);
    pub const AI_FAIL: Self = Self(80);
    pub const AI_FAMILY: Self = Self(81);
    pub const AI_MEMORY: Self = Self(82);
    pub const AI_NONAME: Self = Self(84);

    /// The number of what getaddrinfo(3) returned, which is an `EAI_` constant.
    pub fn of_lookup(code: i32) -> Self {
        Self(match code {
            EAI_ADDRFAMILY => 77,
            libc::EAI_AGAIN => 78,
            libc::EAI_BADFLAGS => 79,
            libc::EAI_FAMILY => 81,
            libc::EAI_MEMORY => 82,
            libc::EAI_NODATA => 83,
            libc::EAI_NONAME => 84,
            libc::EAI_SERVICE => 85,
            libc::EAI_SOCKTYPE => 86,
            libc::EAI_SYSTEM => 87,
            _ => return Self::AI_FAIL,
        })
    }

    /// The number of an errno(3) of the host; `None` for 0.
    pub fn of_host(number: i32) -> Option<Self> {
        if number == 0 {
            return None;
        }
        let known = NUMBERS.iter().find(|(host, _)| *host == number);
        Some(known.map_or(Self::IO, |(_, guest)| Self(*guest)))
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(error: rustix::io::Errno) -> Self {
        Self::of_host(error.raw_os_error()).unwrap_or(Self::IO)
    }
}

/// Of <netdb.h>, which the libc crate leaves out.
const EAI_ADDRFAMILY: i32 = -9;

/// The host's number and the guest's. Those that preview 1 has no number for, at the end, are given the one
/// that a caller would treat alike.
const NUMBERS: [(i32, u16); 82] = [
    (libc::E2BIG, 1),
    (libc::EACCES, 2),
    (libc::EADDRINUSE, 3),
    (libc::EADDRNOTAVAIL, 4),
    (libc::EAFNOSUPPORT, 5),
    (libc::EAGAIN, 6),
    (libc::EALREADY, 7),
    (libc::EBADF, 8),
    (libc::EBADMSG, 9),
    (libc::EBUSY, 10),
    (libc::ECANCELED, 11),
    (libc::ECHILD, 12),
    (libc::ECONNABORTED, 13),
    (libc::ECONNREFUSED, 14),
    (libc::ECONNRESET, 15),
    (libc::EDEADLK, 16),
    (libc::EDESTADDRREQ, 17),
    (libc::EDOM, 18),
    (libc::EDQUOT, 19),
    (libc::EEXIST, 20),
    (libc::EFAULT, 21),
    (libc::EFBIG, 22),
    (libc::EHOSTUNREACH, 23),
    (libc::EIDRM, 24),
    (libc::EILSEQ, 25),
    (libc::EINPROGRESS, 26),
    (libc::EINTR, 27),
    (libc::EINVAL, 28),
    (libc::EIO, 29),
    (libc::EISCONN, 30),
    (libc::EISDIR, 31),
    (libc::ELOOP, 32),
    (libc::EMFILE, 33),
    (libc::EMLINK, 34),
    (libc::EMSGSIZE, 35),
    (libc::EMULTIHOP, 36),
    (libc::ENAMETOOLONG, 37),
    (libc::ENETDOWN, 38),
    (libc::ENETRESET, 39),
    (libc::ENETUNREACH, 40),
    (libc::ENFILE, 41),
    (libc::ENOBUFS, 42),
    (libc::ENODEV, 43),
    (libc::ENOENT, 44),
    (libc::ENOEXEC, 45),
    (libc::ENOLCK, 46),
    (libc::ENOLINK, 47),
    (libc::ENOMEM, 48),
    (libc::ENOMSG, 49),
    (libc::ENOPROTOOPT, 50),
    (libc::ENOSPC, 51),
    (libc::ENOSYS, 52),
    (libc::ENOTCONN, 53),
    (libc::ENOTDIR, 54),
    (libc::ENOTEMPTY, 55),
    (libc::ENOTRECOVERABLE, 56),
    (libc::ENOTSOCK, 57),
    (libc::EOPNOTSUPP, 58),
    (libc::ENOTTY, 59),
    (libc::ENXIO, 60),
    (libc::EOVERFLOW, 61),
    (libc::EOWNERDEAD, 62),
    (libc::EPERM, 63),
    (libc::EPIPE, 64),
    (libc::EPROTO, 65),
    (libc::EPROTONOSUPPORT, 66),
    (libc::EPROTOTYPE, 67),
    (libc::ERANGE, 68),
    (libc::EROFS, 69),
    (libc::ESPIPE, 70),
    (libc::ESRCH, 71),
    (libc::ESTALE, 72),
    (libc::ETIMEDOUT, 73),
    (libc::ETXTBSY, 74),
    (libc::EXDEV, 75),
    (libc::EHOSTDOWN, 23),
    (libc::ENONET, 40),
    (libc::EPFNOSUPPORT, 5),
    (libc::ESHUTDOWN, 64),
    (libc::ESOCKTNOSUPPORT, 66),
    (libc::ETOOMANYREFS, 42),
    (libc::EUSERS, 33),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_preview1_are_all_there_once() {
        let own: Vec<u16> = NUMBERS[..75].iter().map(|(_, guest)| *guest).collect();
        assert_eq!(own, (1..=75).collect::<Vec<_>>());
        for (host, _) in NUMBERS {
            assert_eq!(
                NUMBERS.iter().filter(|(other, _)| *other == host).count(),
                1,
                "{host}"
            );
        }
    }

    #[test]
    fn guests_get_the_numbers_they_know() {
        for (host, guest) in [
            (libc::EINPROGRESS, 26),
            (libc::ECONNREFUSED, 14),
            (libc::EAGAIN, 6),
            (libc::ENOTCONN, 53),
            (libc::EADDRINUSE, 3),
            (4000, 29),
        ] {
            assert_eq!(Errno::of_host(host), Some(Errno(guest)));
        }
        assert_eq!(Errno::of_host(0), None);
        assert_eq!(Errno::of_lookup(libc::EAI_NONAME), Errno(84));
        assert_eq!(Errno::of_lookup(libc::EAI_AGAIN), Errno(78));
        assert_eq!(Errno::of_lookup(1), Errno(80));
    }
}
