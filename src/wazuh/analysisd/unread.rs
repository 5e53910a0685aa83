//! How much of what was sent the receiver has not taken: one system call that no safe library has. Does nothing else.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::net::UnixDatagram;

use rustix::ioctl::{Getter, ioctl};

/// SIOCOUTQ of Linux (include/uapi/linux/sockios.h; the same number as TIOCOUTQ).
const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;

/// Bytes that wait in the receiver's kernel queue, with what the kernel adds to each datagram.
pub(super) fn bytes(socket: &UnixDatagram) -> io::Result<u64> {
    // SAFETY: for SIOCOUTQ on a socket the kernel writes one `int` through the pointer (unix(7), socket(7)).
    let getter = unsafe { Getter::<SIOCOUTQ, i32>::new() };
    // SAFETY: the opcode only reads, and the socket is open as long as it is borrowed.
    let bytes = unsafe { ioctl(socket, getter) }?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_the_receiver_took_is_no_longer_counted() {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        assert_eq!(bytes(&sender).unwrap(), 0);
        sender.send(&[0; 1_000]).unwrap();
        assert!(bytes(&sender).unwrap() >= 1_000);
        receiver.recv(&mut [0; 1_000]).unwrap();
        assert_eq!(bytes(&sender).unwrap(), 0);
    }
}
