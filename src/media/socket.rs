//! A shard's UDP socket: datagrams in batches, each answered from the address it was sent to.
//!
//! The only unsafe code of the room: `recvmmsg` and `sendmmsg` with headers that are laid out once. Nothing is allocated
//! after [`Socket::new`]. Its invariant: a datagram leaves from the local address its [`Path`] names, because pages drop
//! what comes from another one (a socket on 0.0.0.0 would let the kernel choose).

use nix::libc;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Datagrams taken or sent at once.
pub(crate) const BATCH: usize = 64;
/// Octets of a buffer. Longer datagrams (no page sends any: path MTUs are 1500) are cut by the kernel and dropped.
pub(crate) const SLOT: usize = 2048;

/// For so many batches nothing is cut up by the kernel after it said that it cannot: some seconds, and then one refused call.
const UNSEGMENTED: u32 = 10_000;
/// Datagrams of one message at most: fewer than any kernel takes (64 before Linux 6.9), and together less than 64 KB.
const LONGEST_RUN: usize = 32;
/// Octets of the datagrams of such a message at most: the kernel refuses what the path's MTU does not carry whole, and 1280 it
/// must (IPv6), less the headers. Pages send no longer ones (1200 and a tag).
const LONGEST_SEGMENT: usize = 1280 - 40 - 8;

/// A TCP connection. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Link {
    /// Where the shard keeps it.
    pub(crate) place: u32,
    /// Which of those that were kept there.
    pub(crate) serial: u32,
}

/// By what a datagram travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The shard's socket.
    Udp,
    /// A connection, framed (RFC 4571).
    Tcp(Link),
}

/// Between whom a datagram travels, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// The page's address as the socket sees it.
    pub(crate) peer: SocketAddr,
    /// Ours; none if the socket is bound to one address anyway.
    pub(crate) local: Option<IpAddr>,
    /// A connection is its own: over TCP the addresses only say who it is.
    pub(crate) way: Way,
}

impl Path {
    /// Whether both lead to the same place of the page, whichever of our addresses it asked.
    pub(crate) fn comes_from(&self, other: Self) -> bool {
        (self.peer, self.way) == (other.peer, other.way)
    }
}

/// Room for one IP_PKTINFO or IPV6_PKTINFO and one UDP_SEGMENT.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Ancillary([u8; 64]);

/// Headers for one direction. The pointers inside stay valid because the boxes never move.
struct Headers {
    messages: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[libc::sockaddr_storage]>,
    ancillary: Box<[Ancillary]>,
    /// How many datagrams each message holds.
    runs: Box<[usize]>,
}

impl Headers {
    fn new() -> Self {
        // SAFETY: these are plain C structures for which all zeros is a value.
        let (message, vector, name): (libc::mmsghdr, libc::iovec, libc::sockaddr_storage) =
            unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            messages: vec![message; BATCH].into_boxed_slice(),
            vectors: vec![vector; BATCH].into_boxed_slice(),
            names: vec![name; BATCH].into_boxed_slice(),
            ancillary: vec![Ancillary([0; 64]); BATCH].into_boxed_slice(),
            runs: vec![1; BATCH].into_boxed_slice(),
        }
    }
}

/// A bound socket with the buffers of its current batch.
pub(crate) struct Socket {
    socket: UdpSocket,
    wildcard: bool,
    receive: Headers,
    send: Headers,
    buffers: Box<[[u8; SLOT]]>,
    /// Datagrams of the last batch; at first all there is room for.
    received: usize,
    /// Batches in which each datagram is still to be sent by itself, because the kernel refused to cut one up.
    unsegmented: u32,
}

/// Binds a shard's socket. Done before its thread starts, so that a taken port is told to the caller.
pub(crate) fn bind(address: SocketAddr, buffer: usize) -> io::Result<UdpSocket> {
    use nix::sys::socket::{setsockopt, sockopt};
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // Beyond the kernel's limit only with CAP_NET_ADMIN; without it at most the limit is granted, which is not an error.
    if setsockopt(&socket, sockopt::RcvBufForce, &buffer).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &buffer)?;
    }
    if setsockopt(&socket, sockopt::SndBufForce, &buffer).is_err() {
        setsockopt(&socket, sockopt::SndBuf, &buffer)?;
    }
    if address.ip().is_unspecified() {
        if address.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
    }
    Ok(socket)
}

/// Octets the kernel holds for a socket that is not read, as it was asked: it doubles that, for its own books (socket(7)).
pub(crate) fn granted(socket: &UdpSocket) -> io::Result<usize> {
    use nix::sys::socket::{getsockopt, sockopt};
    Ok(getsockopt(socket, sockopt::RcvBuf)? / 2)
}

impl Socket {
    /// Lays out the buffers of a bound socket; it stays on the thread that calls this.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let wildcard = socket.local_addr()?.ip().is_unspecified();
        let buffers = vec![[0; SLOT]; BATCH].into_boxed_slice();
        Ok(Self { socket, wildcard, receive: Headers::new(), send: Headers::new(), buffers, received: BATCH, unsegmented: 0 })
    }

    /// For `poll`.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Datagrams the kernel dropped so far because the socket's buffer was full; none if it does not say (before Linux 4.12).
    pub(crate) fn kernel_drops(&self) -> Option<u64> {
        let mut figures = [0_u32; libc::SK_MEMINFO_DROPS as usize + 1];
        let mut length = size_of_val(&figures) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` octets to the array and their number to `length`.
        let result = unsafe {
            let to = (&raw mut figures).cast();
            libc::getsockopt(self.socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, to, &raw mut length)
        };
        (result == 0 && length as usize == size_of_val(&figures)).then(|| u64::from(figures[libc::SK_MEMINFO_DROPS as usize]))
    }

    /// Takes what has arrived, at most [`BATCH`] datagrams, without waiting.
    pub(crate) fn receive(&mut self) -> usize {
        let Headers { messages, vectors, names, ancillary, .. } = &mut self.receive;
        // The headers of the rest are as they were.
        for index in 0..self.received {
            vectors[index] = libc::iovec { iov_base: self.buffers[index].as_mut_ptr().cast(), iov_len: SLOT };
            let header = &mut messages[index].msg_hdr;
            header.msg_iov = &mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut names[index]).cast();
            // The kernel writes lengths back, so they are set anew each time.
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_control = if self.wildcard { ancillary[index].0.as_mut_ptr().cast() } else { std::ptr::null_mut() };
            header.msg_controllen = if self.wildcard { size_of::<Ancillary>() } else { 0 };
        }
        // SAFETY: every header points to a buffer, a name and an ancillary block of its own, which live as long as `self`
        // and have the lengths the header states.
        let count = unsafe {
            libc::recvmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), BATCH as u32, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        // Nothing there, or an ICMP error about something we sent: both mean nothing to read now.
        self.received = usize::try_from(count).unwrap_or(0);
        self.received
    }

    /// A datagram of the last batch: its buffer (all of it), its length and whence it came. None if it was cut.
    pub(crate) fn datagram(&mut self, index: usize) -> Option<(&mut [u8; SLOT], usize, Path)> {
        let message = &self.receive.messages[index];
        if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let peer = read_name(&self.receive.names[index])?;
        let local = if self.wildcard { read_local(&message.msg_hdr) } else { None };
        let length = (message.msg_len as usize).min(SLOT);
        Some((&mut self.buffers[index], length, Path { peer, local, way: Way::Udp }))
    }

    /// Sends buffers of the last batch on; `list` names buffer, length and path. Returns how many the kernel refused.
    pub(crate) fn send_batch(&mut self, list: &[(usize, usize, Path)]) -> u64 {
        let (mut refused, mut from) = (0, 0);
        // Up to here each datagram goes by itself: the path is too narrow for some of them.
        let mut singly_until = 0;
        if list.is_empty() {
            return 0;
        }
        self.unsegmented = self.unsegmented.saturating_sub(1);
        while from < list.len() {
            let count =
                if from < singly_until { self.lay_out(&list[from..singly_until], false) } else { self.lay_out(&list[from..], true) };
            // SAFETY: as in `receive`; the count is that of the headers just written.
            let sent =
                unsafe { libc::sendmmsg(self.socket.as_raw_fd(), self.send.messages.as_mut_ptr(), count as u32, libc::MSG_DONTWAIT) };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => from += self.send.runs[..sent].iter().sum::<usize>(),
                _ => {
                    let error = io::Error::last_os_error();
                    // When the buffer is full, all the rest would fail; else only the first did (no route, say).
                    if error.kind() == io::ErrorKind::WouldBlock {
                        return refused + (list.len() - from) as u64;
                    }
                    let run = self.send.runs[0];
                    match error.raw_os_error() {
                        // A network card without checksums, an old kernel: one by one from now on.
                        Some(libc::EIO | libc::EOPNOTSUPP) if run > 1 => {
                            self.unsegmented = UNSEGMENTED;
                            continue;
                        }
                        // One page's path is narrow, which says nothing of the others'.
                        Some(libc::EINVAL | libc::EMSGSIZE) if run > 1 => {
                            singly_until = from + run;
                            continue;
                        }
                        _ => (),
                    }
                    refused += run as u64;
                    from += run;
                }
            }
        }
        refused
    }

    /// Writes the headers of one `sendmmsg` and returns how many. A run of packets of one length between the same two (a picture,
    /// mostly; the last may be shorter) becomes one message, which the kernel cuts up again (UDP_SEGMENT): it passes the
    /// network stack once.
    fn lay_out(&mut self, list: &[(usize, usize, Path)], in_runs: bool) -> usize {
        let Headers { messages, vectors, names, ancillary, runs } = &mut self.send;
        let (mut count, mut place) = (0, 0);
        let list = &list[..list.len().min(BATCH)];
        while place < list.len() {
            let run = if in_runs && self.unsegmented == 0 { run_of(&list[place..]) } else { 1 };
            let (_, size, path) = list[place];
            for (vector, (index, length, _)) in vectors[place..].iter_mut().zip(&list[place..place + run]) {
                let buffer = &mut self.buffers[*index][..*length];
                *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: *length };
            }
            let header = &mut messages[count].msg_hdr;
            header.msg_iov = &mut vectors[place];
            header.msg_iovlen = run;
            header.msg_name = (&raw mut names[count]).cast();
            header.msg_namelen = write_name(&mut names[count], path.peer);
            let local = write_local(&mut ancillary[count], path.local);
            header.msg_controllen = if run > 1 { local + write_segment(&mut ancillary[count], local, size as u16) } else { local };
            header.msg_control = if header.msg_controllen == 0 { std::ptr::null_mut() } else { ancillary[count].0.as_mut_ptr().cast() };
            runs[count] = run;
            count += 1;
            place += run;
        }
        count
    }

    /// A buffer to lay something into that is to go out with [`send_batch`](Self::send_batch). Receiving overwrites it.
    pub(crate) fn slot(&mut self, index: usize) -> &mut [u8; SLOT] {
        // Its header is laid out again, as that of every buffer that was borrowed.
        self.received = self.received.max(index + 1);
        &mut self.buffers[index]
    }

    /// Sends one datagram that is not media; false if the kernel refused it.
    pub(crate) fn send(&mut self, datagram: &[u8], path: Path) -> bool {
        let Headers { vectors, names, ancillary, messages, .. } = &mut self.send;
        vectors[0] = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
        let header = &mut messages[0].msg_hdr;
        header.msg_iov = &mut vectors[0];
        header.msg_iovlen = 1;
        header.msg_name = (&raw mut names[0]).cast();
        header.msg_namelen = write_name(&mut names[0], path.peer);
        header.msg_controllen = write_local(&mut ancillary[0], path.local);
        header.msg_control = if header.msg_controllen == 0 { std::ptr::null_mut() } else { ancillary[0].0.as_mut_ptr().cast() };
        // SAFETY: the header points to the caller's octets, which sending only reads, and to our own blocks.
        unsafe { libc::sendmsg(self.socket.as_raw_fd(), header, libc::MSG_DONTWAIT) >= 0 }
    }
}

/// Above so many octets not sent yet the kernel takes no more from us (tcp(7), TCP_NOTSENT_LOWAT).
pub(crate) fn limit_unsent(connection: BorrowedFd<'_>, octets: u32) -> io::Result<()> {
    let length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the option is an int, the pointer is to four octets that live through the call.
    let result =
        unsafe { libc::setsockopt(connection.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, (&raw const octets).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn read_name(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure the kernel wrote; the storage is large and aligned enough for all.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id)))
        }
        _ => None,
    }
}

fn write_name(name: &mut libc::sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: the storage is large and aligned enough for every address structure.
            let v4 = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_port = address.port().to_be();
            v4.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let v6 = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_port = address.port().to_be();
            v6.sin6_flowinfo = 0;
            v6.sin6_addr.s6_addr = address.ip().octets();
            v6.sin6_scope_id = address.scope_id();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// The local address a datagram was sent to.
fn read_local(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel filled `msg_control` up to `msg_controllen`; the macro returns null or a block inside it.
    let block = unsafe { libc::CMSG_FIRSTHDR(header) };
    if block.is_null() {
        return None;
    }
    // SAFETY: not null, so a whole header; its data follows and has the structure its level and type name.
    unsafe {
        match ((*block).cmsg_level, (*block).cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let info = libc::CMSG_DATA(block).cast::<libc::in_pktinfo>().read_unaligned();
                Some(IpAddr::V4(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes())))
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let info = libc::CMSG_DATA(block).cast::<libc::in6_pktinfo>().read_unaligned();
                Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)))
            }
            _ => None,
        }
    }
}

/// Writes the block that makes the kernel send from this address; returns its length.
fn write_local(ancillary: &mut Ancillary, local: Option<IpAddr>) -> usize {
    // SAFETY: `Ancillary` is aligned for a control header and longer than either block with its data.
    unsafe {
        let block = ancillary.0.as_mut_ptr().cast::<libc::cmsghdr>();
        match local {
            None => 0,
            Some(IpAddr::V4(ip)) => {
                let size = size_of::<libc::in_pktinfo>() as u32;
                (*block).cmsg_level = libc::IPPROTO_IP;
                (*block).cmsg_type = libc::IP_PKTINFO;
                (*block).cmsg_len = libc::CMSG_LEN(size) as usize;
                let mut info: libc::in_pktinfo = mem::zeroed();
                info.ipi_spec_dst.s_addr = u32::from_ne_bytes(ip.octets());
                libc::CMSG_DATA(block).cast::<libc::in_pktinfo>().write_unaligned(info);
                libc::CMSG_SPACE(size) as usize
            }
            Some(IpAddr::V6(ip)) => {
                let size = size_of::<libc::in6_pktinfo>() as u32;
                (*block).cmsg_level = libc::IPPROTO_IPV6;
                (*block).cmsg_type = libc::IPV6_PKTINFO;
                (*block).cmsg_len = libc::CMSG_LEN(size) as usize;
                let mut info: libc::in6_pktinfo = mem::zeroed();
                info.ipi6_addr.s6_addr = ip.octets();
                libc::CMSG_DATA(block).cast::<libc::in6_pktinfo>().write_unaligned(info);
                libc::CMSG_SPACE(size) as usize
            }
        }
    }
}

/// Writes behind the first `used` octets the block that makes the kernel cut a message into datagrams of `size`; returns its
/// length.
fn write_segment(ancillary: &mut Ancillary, used: usize, size: u16) -> usize {
    // SAFETY: `used` is 0 or the space of one of the blocks of `write_local`, so it keeps the alignment, and `Ancillary` is
    // longer than the longer of these with this block.
    unsafe {
        let block = ancillary.0.as_mut_ptr().add(used).cast::<libc::cmsghdr>();
        (*block).cmsg_level = libc::SOL_UDP;
        (*block).cmsg_type = libc::UDP_SEGMENT;
        (*block).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as usize;
        libc::CMSG_DATA(block).cast::<u16>().write_unaligned(size);
        libc::CMSG_SPACE(size_of::<u16>() as u32) as usize
    }
}

/// How many datagrams at the head of a list may go as one message: between the same two, of one length, and a last one that is
/// not longer.
fn run_of(list: &[(usize, usize, Path)]) -> usize {
    let (_, size, path) = list[0];
    let mut run = 1;
    for (_, length, next) in list[1..].iter().take(LONGEST_RUN - 1) {
        if *next != path || *length > size || size > LONGEST_SEGMENT {
            break;
        }
        run += 1;
        if *length < size {
            break;
        }
    }
    run
}

const _: () = assert!(
    // SAFETY: only computes.
    unsafe { libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32) + libc::CMSG_SPACE(size_of::<u16>() as u32) } as usize
        <= size_of::<Ancillary>()
);

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(socket: &Socket) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(5000_u16)).unwrap();
    }

    #[test]
    fn what_a_full_buffer_loses_is_counted() {
        let bound = bind("127.0.0.1:0".parse().unwrap(), 1 << 16).unwrap();
        assert_eq!(granted(&bound).unwrap(), 1 << 16);
        let to = bound.local_addr().unwrap();
        let socket = Socket::new(bound).unwrap();
        assert_eq!(socket.kernel_drops(), Some(0));
        let page = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..1000 {
            page.send_to(&[0; 1000], to).unwrap();
        }
        // 1,000 octets each, and no more than 128 KiB are held.
        assert!(socket.kernel_drops().unwrap() > 800, "{:?}", socket.kernel_drops());
    }

    #[test]
    fn a_reply_leaves_from_the_address_that_was_asked() {
        for (any, loopback) in [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "::1"), ("[::]:0", "127.0.0.3")] {
            let bound = bind(any.parse().unwrap(), 1 << 16).unwrap();
            let port = bound.local_addr().unwrap().port();
            let mut socket = Socket::new(bound).unwrap();
            let target: IpAddr = loopback.parse().unwrap();
            let page = UdpSocket::bind(SocketAddr::new(target, 0)).unwrap();
            page.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            for text in [&b"one"[..], b"two"] {
                page.send_to(text, SocketAddr::new(target, port)).unwrap();
            }
            // Loopback delivers before `send_to` returns, so both are in one batch.
            wait(&socket);
            let mut list = Vec::new();
            for index in 0..socket.receive() {
                let (_, length, path) = socket.datagram(index).unwrap();
                list.push((index, length, path));
            }
            assert_eq!(socket.send_batch(&list), 0);
            assert!(socket.send(b"three", list[0].2));
            for expected in [&b"one"[..], b"two", b"three"] {
                let mut buffer = [0; 16];
                let (length, from) = page.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..length], from), (expected, SocketAddr::new(target, port)), "{any} {loopback}");
            }
        }
    }

    /// Sends what a page sent back to where `to` says, and returns what each of the two pages then hears, in order.
    fn echo(socket: &mut Socket, pages: [&UdpSocket; 2], sent: &[(usize, usize)]) -> [Vec<Vec<u8>>; 2] {
        let target = SocketAddr::new(pages[0].local_addr().unwrap().ip(), socket.socket.local_addr().unwrap().port());
        for (n, &(_, length)) in sent.iter().enumerate() {
            pages[0].send_to(&vec![n as u8; length], target).unwrap();
        }
        wait(socket);
        let mut list = Vec::new();
        for index in 0..socket.receive() {
            let (_, length, path) = socket.datagram(index).unwrap();
            let peer = pages[sent[index].0].local_addr().unwrap();
            list.push((index, length, Path { peer, ..path }));
        }
        assert_eq!((list.len(), socket.send_batch(&list)), (sent.len(), 0));
        [0, 1].map(|page| {
            let count = sent.iter().filter(|(to, _)| *to == page).count();
            let hear = |_| {
                let mut buffer = [0; SLOT];
                let length = pages[page].recv(&mut buffer).unwrap();
                buffer[..length].to_vec()
            };
            (0..count).map(hear).collect()
        })
    }

    #[test]
    fn runs_of_one_length_arrive_as_the_datagrams_they_were() {
        for loopback in ["127.0.0.1", "::1"] {
            for bound in [loopback, if loopback == "::1" { "::" } else { "0.0.0.0" }] {
                let pages = [(); 2].map(|()| UdpSocket::bind(SocketAddr::new(loopback.parse().unwrap(), 0)).unwrap());
                pages.iter().for_each(|page| page.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap());
                let mut socket = Socket::new(bind(SocketAddr::new(bound.parse().unwrap(), 0), 1 << 20).unwrap()).unwrap();
                // One picture each, the last of it shorter; alone; longer after shorter; more than fit one message; too long for it.
                let mut sent = vec![(0, 1100), (0, 1100), (0, 700), (1, 1100), (1, 1100), (0, 90), (1, 90), (1, 100), (1, 100)];
                sent.extend([(0, 40); LONGEST_RUN + 2]);
                sent.extend([(1, 1400); 2]);
                for pretended in [0, 2] {
                    socket.unsegmented = pretended;
                    let heard = echo(&mut socket, pages.each_ref(), &sent);
                    for (page, heard) in heard.into_iter().enumerate() {
                        let own = sent.iter().enumerate().filter(|(_, (to, _))| *to == page);
                        let expected: Vec<Vec<u8>> = own.map(|(n, &(_, length))| vec![n as u8; length]).collect();
                        assert_eq!(heard, expected, "{bound} {loopback}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_run_is_one_length_one_path_and_a_shorter_end() {
        let path = |port| Path { peer: SocketAddr::from(([127, 0, 0, 1], port)), local: None, way: Way::Udp };
        let run = |list: &[(usize, u16)]| run_of(&list.iter().map(|&(length, port)| (0, length, path(port))).collect::<Vec<_>>());
        assert_eq!(run(&[(1000, 1)]), 1);
        assert_eq!(run(&[(1000, 1), (1000, 1), (999, 1), (999, 1)]), 3);
        assert_eq!(run(&[(1000, 1), (1001, 1)]), 1);
        assert_eq!(run(&[(1000, 1), (1000, 2), (1000, 1)]), 1);
        assert_eq!(run(&[(40, 1); 100]), LONGEST_RUN);
        assert_eq!(run(&[(LONGEST_SEGMENT + 1, 1); 2]), 1);
        assert_eq!(run(&[(LONGEST_SEGMENT, 1); 2]), 2);
    }

    #[test]
    fn a_run_the_kernel_does_not_take_goes_one_by_one_and_others_go_on_as_runs() {
        let page = UdpSocket::bind("127.0.0.1:0").unwrap();
        page.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let mut socket = Socket::new(bind("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap()).unwrap();
        // Without checksums there is nothing to put on the pieces: EINVAL, as for a path that is too narrow.
        let on: libc::c_int = 1;
        // SAFETY: the value is as long as is said.
        let result = unsafe {
            let length = size_of_val(&on) as libc::socklen_t;
            libc::setsockopt(socket.socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, (&raw const on).cast(), length)
        };
        assert_eq!(result, 0);
        let heard = echo(&mut socket, [&page, &page], &[(0, 30), (0, 900), (0, 900), (0, 31), (0, 40), (0, 40)]);
        assert_eq!(heard[0].iter().map(Vec::len).collect::<Vec<_>>(), [30, 900, 900, 31, 40, 40]);
        assert_eq!(socket.unsegmented, 0, "which says nothing of other paths");
        assert_eq!(socket.send_batch(&[]), 0);
    }
}
