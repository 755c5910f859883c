//! The connections of the thread, by token: a place in a table, and how often that place was given away before, so that a
//! token is used once and what comes late for one that is gone finds nobody.

use super::session::Session;
use crate::cluster::input::SessionId;
use mio::Token;
use mio::net::TcpStream;
use std::net::SocketAddr;
use std::time::Instant;

/// A connection that has not yet said what it is.
pub(super) struct Guest {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) since: Instant,
}

enum Connection {
    None,
    Guest(Guest),
    /// On its own, so that the table is small: it is doubled when it is full.
    Session(Box<Session>),
}

struct Place {
    uses: u32,
    connection: Connection,
}

#[derive(Default)]
pub(super) struct Connections {
    places: Vec<Place>,
    free: Vec<u32>,
    guest_count: usize,
}

const PLACE_BITS: u32 = 32;

impl Connections {
    pub(super) fn add(&mut self, guest: Guest) -> Token {
        self.guest_count += 1;
        let connection = Connection::Guest(guest);
        match self.free.pop() {
            Some(at) => {
                let place = &mut self.places[at as usize];
                place.connection = connection;
                Token((place.uses as usize) << PLACE_BITS | at as usize)
            }
            None => {
                self.places.push(Place { uses: 0, connection });
                Token(self.places.len() - 1)
            }
        }
    }

    fn get(&self, token: Token) -> Option<&Connection> {
        let place = self.places.get(token.0 & ((1 << PLACE_BITS) - 1))?;
        (place.uses as usize == token.0 >> PLACE_BITS).then_some(&place.connection)
    }

    fn get_mut(&mut self, token: Token) -> Option<&mut Connection> {
        let place = self.places.get_mut(token.0 & ((1 << PLACE_BITS) - 1))?;
        (place.uses as usize == token.0 >> PLACE_BITS).then_some(&mut place.connection)
    }

    pub(super) fn guest(&self, token: Token) -> Option<&Guest> {
        match self.get(token)? {
            Connection::Guest(guest) => Some(guest),
            _ => None,
        }
    }

    pub(super) fn guest_mut(&mut self, token: Token) -> Option<&mut Guest> {
        match self.get_mut(token)? {
            Connection::Guest(guest) => Some(guest),
            _ => None,
        }
    }

    pub(super) fn guest_count(&self) -> usize {
        self.guest_count
    }

    pub(super) fn session_mut(&mut self, token: Token) -> Option<&mut Session> {
        match self.get_mut(token)? {
            Connection::Session(session) => Some(session),
            _ => None,
        }
    }

    /// The guest is an agent. Its token stays, and is its session's number.
    pub(super) fn promote(&mut self, token: Token) -> &mut Session {
        let place = self.get_mut(token).expect("a guest has its place");
        let Connection::Guest(guest) = std::mem::replace(place, Connection::None) else {
            unreachable!("asked of a guest")
        };
        let session = Session::new(SessionId(token.0 as u64), guest.stream, guest.peer);
        *place = Connection::Session(Box::new(session));
        self.guest_count -= 1;
        self.session_mut(token).expect("just made")
    }

    pub(super) fn remove_guest(&mut self, token: Token) -> Option<Guest> {
        self.guest(token)?;
        self.guest_count -= 1;
        match self.take(token) {
            Connection::Guest(guest) => Some(guest),
            _ => unreachable!("looked up above"),
        }
    }

    pub(super) fn remove_session(&mut self, token: Token) -> Option<Box<Session>> {
        self.session_mut(token)?;
        match self.take(token) {
            Connection::Session(session) => Some(session),
            _ => unreachable!("looked up above"),
        }
    }

    /// Empties a place that is taken.
    fn take(&mut self, token: Token) -> Connection {
        let at = token.0 & ((1 << PLACE_BITS) - 1);
        let place = &mut self.places[at];
        place.uses += 1;
        // One that was used as often as can be counted is used no more; the last number names listener and waker, too.
        if place.uses < u32::MAX {
            self.free.push(u32::try_from(at).expect("fewer than 2^32 places"));
        }
        std::mem::replace(&mut place.connection, Connection::None)
    }
}
