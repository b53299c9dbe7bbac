//! The accept loop: TCP, then TLS in a task of its own with a deadline, then to the server.
//!
//! A peer that is silent, or does not speak TLS, holds up nobody. How many handshakes and connections there may be is bounded.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::tls::{self, SharedCredentials};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::peer::{Peer, PeerCertificate};

const HANDSHAKE: Duration = Duration::from_secs(5);
const MAX_HANDSHAKES: usize = 128;
const MAX_CONNECTIONS: usize = 12_000;
/// Who has no certificate can only enrol, and that is quick: strangers do not keep places of others.
const STRANGER: Duration = Duration::from_secs(60);
/// After an error of `accept` (no file descriptor is left): it would only come again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Bound, not yet accepting.
pub struct Listener {
    socket: TcpListener,
    acceptor: TlsAcceptor,
}

/// A connection whose handshake is done.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    /// When a stranger's connection ends.
    ends: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

type Accepted = std::io::Result<Connection>;

impl Listener {
    /// Takes the port.
    pub async fn bind(at: SocketAddr, credentials: &SharedCredentials) -> Result<Self, Failure> {
        let config = tls::server_config(credentials)?;
        let socket = TcpListener::bind(at).await.map_err(|error| {
            Failure::new("cannot_listen", format!("cannot listen at {at}: {error}"))
                .hint(format!(
                    "who has the port? ss -ltnp 'sport = :{}'; another can be set: listen in coordinator.toml",
                    at.port()
                ))
                .exit(ExitClass::Conflict)
        })?;
        Ok(Self {
            socket,
            acceptor: TlsAcceptor::from(config),
        })
    }

    /// Where it listens.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// Accepts until told to stop.
    pub fn start(self, stop: CancellationToken) -> mpsc::Receiver<Accepted> {
        let (ready, connections) = mpsc::channel(16);
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.accept(ready) => {}
            }
        });
        connections
    }

    async fn accept(self, ready: mpsc::Sender<Accepted>) {
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let (Ok(shaking), Ok(place)) = (
                Arc::clone(&handshakes).acquire_owned().await,
                Arc::clone(&places).acquire_owned().await,
            ) else {
                return;
            };
            let (tcp, remote) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (acceptor, ready) = (self.acceptor.clone(), ready.clone());
            tokio::spawn(async move {
                let shaken = tokio::time::timeout(HANDSHAKE, handshake(acceptor, tcp)).await;
                drop(shaking);
                match shaken {
                    Ok(Ok((stream, certificate))) => {
                        let ends = certificate.is_none().then(|| Box::pin(tokio::time::sleep(STRANGER)));
                        let peer = Peer { remote, certificate };
                        // The server has ended.
                        let _ = ready
                            .send(Ok(Connection {
                                stream,
                                peer,
                                ends,
                                _place: place,
                            }))
                            .await;
                    }
                    Ok(Err(error)) => tracing::info!(peer = %remote, "connection refused: {error}"),
                    Err(_) => tracing::info!(peer = %remote, "connection refused: no TLS handshake in time"),
                }
            });
        }
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
) -> std::io::Result<(TlsStream<TcpStream>, Option<PeerCertificate>)> {
    tcp.set_nodelay(true)?;
    let stream = acceptor.accept(tcp).await?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = match certificates.first() {
        None => None,
        Some(der) => {
            let read = PeerCertificate::read(der);
            Some(read.ok_or_else(|| std::io::Error::other("the certificate names nobody of this group"))?)
        }
    };
    Ok((stream, certificate))
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if let Some(ends) = &mut self.ends
            && ends.as_mut().poll(cx).is_ready()
        {
            // As if it had closed the connection.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
