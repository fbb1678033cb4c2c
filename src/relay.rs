//! What happens to a packet between two legs: SRTP off, numbers mapped in place, SRTP on. Byte buffers only; no
//! sockets, no clocks, no allocation in the steady state.
