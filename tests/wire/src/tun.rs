//! TUN devices in network namespaces, and the few calls of the system the wire needs.
//!
//! The only file with unsafe code; each block says why it is sound.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

/// A TUN device: a file that gives and takes whole IP packets. It vanishes when dropped.
pub(crate) struct Tun(File);

impl Tun {
    /// Makes a device of this name in a named namespace, as `ip netns` knows it, or in the present one.
    pub(crate) fn open(netns: Option<&str>, device: &str) -> io::Result<Self> {
        let Some(netns) = netns else { return Self::make(device) };
        let home = File::open("/proc/thread-self/ns/net")?;
        enter(&File::open(format!("/run/netns/{netns}"))?)?;
        let made = Self::make(device);
        enter(&home)?;
        made
    }

    fn make(device: &str) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open("/dev/net/tun")?;
        if device.len() >= libc::IFNAMSIZ {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the device's name is too long"));
        }
        // SAFETY: all zeroes are a valid ifreq, which is made of numbers.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (place, octet) in request.ifr_name.iter_mut().zip(device.bytes()) {
            *place = octet as libc::c_char;
        }
        // Both flags fit: they are 0x0001 and 0x1000.
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq, which lives across the call.
        checked(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
        Ok(Self(file))
    }

    /// The next packet's length; none when there is none now.
    pub(crate) fn read(&mut self, packet: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0.read(packet) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // Not up yet, or taken down: as good as an unplugged cable.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a packet to the namespace; one that cannot be taken is lost, as on a real line.
    pub(crate) fn write(&mut self, packet: &[u8]) {
        let _ = self.0.write(packet);
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn enter(netns: &File) -> io::Result<()> {
    // SAFETY: it takes a descriptor and a flag, and changes this thread only; the wire has one.
    checked(unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Waits for this descriptor to have something to read.
pub(crate) fn readable(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Waits until a descriptor is ready, or for this long.
pub(crate) fn poll(polled: &mut [libc::pollfd], limit: Option<Duration>) -> io::Result<()> {
    // Seconds beyond an i64 do not occur: limits are delays of packets. Nanoseconds are below a billion.
    let limit = limit.map(|limit| libc::timespec { tv_sec: limit.as_secs() as libc::time_t, tv_nsec: limit.subsec_nanos().into() });
    let at = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the pointers are those of a slice with its own length and of a local that lives across the call, or null.
    match checked(unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, at, std::ptr::null()) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other,
    }
}

/// Appends what a descriptor that is ready has to read; false at its end.
pub(crate) fn read_into(fd: RawFd, words: &mut Vec<u8>) -> io::Result<bool> {
    let mut octets = [0_u8; 512];
    // SAFETY: the pointer and the length are those of a local array.
    let len = unsafe { libc::read(fd, octets.as_mut_ptr().cast(), octets.len()) };
    // Negative for an error, else at most the length.
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    words.extend_from_slice(&octets[..len]);
    Ok(len > 0)
}

/// Sleeps end when they are due, and not up to 50 µs later, as is usual.
pub(crate) fn sleep_precisely() {
    // SAFETY: it takes numbers only. That it fails is no harm: delays are a little longer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
