//! Names of sources and sinks: `scheme:target?key=value&key=value`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::{Error, Result};

/// A name in its parts. Settings are taken out one by one; what is left at the end was not understood.
#[derive(Debug)]
pub(crate) struct Uri<'a> {
    kind: &'static str,
    text: &'a str,
    example: &'static str,
    pub(crate) scheme: &'a str,
    pub(crate) target: &'a str,
    settings: BTreeMap<&'a str, &'a str>,
}

impl<'a> Uri<'a> {
    /// Splits `text`; `kind` and `example` are for messages.
    pub(crate) fn parse(kind: &'static str, example: &'static str, text: &'a str) -> Result<Self> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        let (target, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self { kind, text, example, scheme, target, settings: BTreeMap::new() };
        for setting in query.split('&').filter(|s| !s.is_empty()) {
            let (key, value) = setting.split_once('=').ok_or_else(|| uri.wrong(format!("setting {setting:?} has no value, expected key=value")))?;
            if uri.settings.insert(key, value).is_some() {
                return Err(uri.wrong(format!("setting {key} stands twice")));
            }
        }
        if !text.contains(':') {
            return Err(uri.wrong("no scheme, expected SCHEME:..."));
        }
        Ok(uri)
    }

    /// Uses this example in messages.
    pub(crate) fn example(&mut self, example: &'static str) {
        self.example = example;
    }

    /// The target, which may not be empty.
    pub(crate) fn path(&self) -> Result<&'a str> {
        if self.target.is_empty() { Err(self.wrong(format!("no path after {}:", self.scheme))) } else { Ok(self.target) }
    }

    /// A setting as text.
    pub(crate) fn text(&mut self, key: &str) -> Option<&'a str> {
        self.settings.remove(key)
    }

    /// A number in a range, if it is set.
    pub(crate) fn number<T: FromStr + PartialOrd + Display>(&mut self, key: &str, range: RangeInclusive<T>) -> Result<Option<T>> {
        let Some(text) = self.settings.remove(key) else { return Ok(None) };
        match text.parse() {
            Ok(value) if range.contains(&value) => Ok(Some(value)),
            _ => Err(self.wrong(format!("{key} is {text:?}, expected a number from {} to {}", range.start(), range.end()))),
        }
    }

    /// One of several values; the first is the default.
    pub(crate) fn choice<T: Copy>(&mut self, key: &str, values: &[(&str, T)]) -> Result<T> {
        let text = self.settings.remove(key).unwrap_or(values[0].0);
        values.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
            self.wrong(format!("{key} is {text:?}, expected one of {}", names.join(", ")))
        })
    }

    /// What is left, for a target that has settings of its own.
    pub(crate) fn rest(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.settings.into_iter()
    }

    /// Checks that every setting was understood; `known` names those that are.
    pub(crate) fn finish(self, known: &str) -> Result<()> {
        match self.settings.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.wrong(format!("setting {key:?} is not known here, expected {known}"))),
        }
    }

    /// The error for a part of this name.
    pub(crate) fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::Uri { kind: self.kind, uri: self.text.to_owned(), problem: problem.into(), example: self.example }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::stats::{Journal, ModelInfo, Monitor};
    use crate::{sink, source};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn sinks(text: &str, cameras: usize) -> Result<Vec<Box<dyn sink::Sink>>> {
        let journal = Journal::new(ModelInfo { name: "a".into(), version: 1, precision: "fp32".into(), classes: vec!["background".into()] });
        let camera = |_| sink::Camera { monitor: Arc::new(Monitor::new(Arc::clone(&journal), None, None)), fps: None, realtime: false };
        sink::open(text, &sink::Run { cameras: (0..cameras).map(camera).collect(), journal: Arc::clone(&journal), token: None })
    }

    fn sink(text: &str) -> Result<Vec<Box<dyn sink::Sink>>> {
        sinks(text, 1)
    }

    #[test]
    fn cameras_do_not_write_to_one_place() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["dir:out", "video:run.avi", "collect:kept", "lines:results.sock"] {
            let error = sinks(text, 2).err().unwrap().to_string();
            assert!(error.contains("2 cameras") && error.contains("{camera} in the path"), "{error}");
        }
        assert_eq!(sinks(&format!("dir:{}/{{camera}}/out", dir.path().display()), 3).unwrap().len(), 3);
        assert!((1..=3).all(|camera| dir.path().join(format!("{camera}/out")).is_dir()));
        assert_eq!((sinks("null:", 2).unwrap().len(), sinks("web:127.0.0.1:0", 2).unwrap().len()), (2, 2));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        let cases = [
            ("street.jpg", "no scheme"),
            ("webcam:0", "expected image, dir, video, v4l2 or synthetic"),
            ("image:", "no path after image:"),
            ("image:a.jpg?list=b", "\"list\" is not known"),
            ("v4l2:", "no path after v4l2:"),
            ("v4l2:/dev/video0?format=H264", "expected one of any, YUYV"),
            ("synthetic:?width=7", "width is \"7\", expected a number from 16 to 4096"),
            ("synthetic:?width=wide", "width is \"wide\""),
            ("synthetic:?fps=NaN", "fps is \"NaN\""),
            ("synthetic:?realtime=yes", "expected one of 0, 1"),
            ("synthetic:?seed=1&seed=2", "seed stands twice"),
            ("synthetic:?seed", "\"seed\" has no value"),
            ("synthetic:street", "expected settings after a ?"),
        ];
        for (text, expected) in cases {
            let error = source::open(text).err().unwrap().to_string();
            assert!(error.contains(expected) && error.contains(text), "{error}");
        }
        for (text, expected) in [
            ("video:a.mp4", "does not end with .avi"),
            ("dir:a?what=all", "overlay, mask, both"),
            ("null:x", "expected nothing"),
            ("web:here", "expected HOST:PORT"),
            ("lines:", "no path"),
        ] {
            let error = sink(text).err().unwrap();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(amis_artifacts::cli::exit_code(&error), 2);
        }
    }

    proptest! {
        #[test]
        fn any_text_opens_or_is_refused(text in "(image|dir|video|synthetic|null|v4l2)?:?[a-z/?&=:.%0-9\u{e4}-]{0,40}") {
            let _ = source::open(&text);
        }

        #[test]
        fn any_setting_opens_or_is_refused(key in "(width|height|fps|frames|seed|realtime|x)", value in "[-+0-9.eE\u{221e}a-z]{0,24}") {
            if let Ok(mut source) = source::open(&format!("synthetic:?width=16&height=16&{key}={value}")) {
                source.next(&mut source::Frame::default()).unwrap();
            }
        }

        #[test]
        fn any_sink_name_opens_or_is_refused(text in "(null|tcp|web)?:?[a-z?&=]{0,20}") {
            let _ = sink(&text);
        }
    }
}
