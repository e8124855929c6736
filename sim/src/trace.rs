//! What happened, as a hash by which two runs of one seed are compared, and as text for a run that failed.

/// Bytes that are hashed at once. The hash takes them several blocks at a time, which costs a fifth of what single events would.
const GATHERED_MAX: usize = 64 * 1024;

/// The trace of a run.
pub struct Trace {
    hasher: blake3::Hasher,
    /// What happened since the hasher was last fed.
    gathered: Vec<u8>,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace. Text is kept where `verbose`.
    pub fn new(verbose: bool) -> Self {
        let gathered = Vec::with_capacity(GATHERED_MAX);
        Self { hasher: blake3::Hasher::new(), gathered, lines: verbose.then(Vec::new) }
    }

    /// Something happened at a time: a kind, whom it happened to, and its bytes.
    pub fn event(&mut self, now_us: u64, kind: u8, whom: usize, bytes: &[u8]) {
        let mut head = [0; 17];
        head[..8].copy_from_slice(&now_us.to_le_bytes());
        head[8] = kind;
        head[9..].copy_from_slice(&(whom as u64).to_le_bytes());
        if self.gathered.len() + head.len() + bytes.len() > GATHERED_MAX {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
        }
        self.gathered.extend_from_slice(&head);
        self.gathered.extend_from_slice(bytes);
    }

    /// A line for people.
    pub fn say(&mut self, now_us: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>10.3} ms  {}", now_us as f64 / 1_000.0, line()));
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> String {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.gathered);
        hex::encode(&hasher.finalize().as_bytes()[..16])
    }

    /// The text.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
