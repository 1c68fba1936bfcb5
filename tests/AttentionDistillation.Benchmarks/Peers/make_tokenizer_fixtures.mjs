// Trains small tokenizers of every kind with Hugging Face's own library and writes down what it makes of difficult texts.
//
//     node make_tokenizer_fixtures.mjs OUT        (beside node_modules/tokenizers, version 0.23)
//
// Each folder of OUT holds a tokenizer (tokenizer.json, or classic vocabulary files) and expected.json. TOKENIZER_FIXTURES=OUT runs the tests over
// them; the committed ones were made by this script.

import { createRequire } from "node:module";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "index.js"));
const { Tokenizer } = require("tokenizers");

const TEXTS = [
  "", " ", "Hello world", "Hello, world! It's fine; isn't it?", "  leading and  double  spaces  ", "tabs\tand\nnew\n\nlines\r\n",
  "Unaffable CAFÉ cafe\u0301 naïve Ångström", "日本語 と 中文 mixed", "한국어 한글 \u1112\u1161\u11ab", "नमस्ते दुनिया", "مرحبا بالعالم", "Здравствуй, мир",
  "emoji 😀 👩\u200d👩\u200d👧 🇩🇪 ❤\ufe0f", "math 𝒜𝓑 𝟙𝟚 x²+½", "123 4567 1,234.56 ١٢٣", "snake_case camelCase kebab-case", "ﬁ ligature ① Ａ full",
  "zero\u200bwidth\u00a0space\u3000wide", "control\x01chars\x7f\ufeff", "İstanbul ǅ ẞ Σίσυφος", "a".repeat(130), "wordwordword ".repeat(40),
  "[MASK] inside <mask> text</s>", "<s>special</s> <|endoftext|> tokens[SEP]", "▁under the low line▁", "'quotes' \"double\" `ticks` «guillemets»",
  "I'll you've they're DON'T", "😀".repeat(5), "e\u0301\u0323 o\u0323\u0302 q\u0307\u0323", "Ünïcödé\u0308", "…—–•·¿¡§¶†", "http://a.b/c?d=e&f=g#h", "tail ",
  "lowest lower low slow flow below", "camel camels Camel inside outsider", "\u0344\u0958\u2126\u212b", "ｶﾞ ㌀ ㈱ ℃",
];
const PAIRS = [["Hello world", "It's fine"], ["a b c d e f g h", "one two three"], ["", "only the second"], ["日本語", "😀 emoji"], ["x ".repeat(30), "y ".repeat(4)]];

const WORDS = `the of and to in is that it was for on are as with his they at be this from have or by one had not but what all were when we there can an
your which their said if do will each about how up out them then she many some so these would other into has more her two like him see time could no
make than first been its who now people my made over did down only way find use may water long little very after words called just where most know
low lower lowest slow slower flow below new newer newest wide wider widest hello world emoji special tokens leading double spaces inside outside`.split(/\s+/);

function corpus() {
  // A fixed linear congruence, so that the same fixtures come out on every machine.
  let state = 1;
  const next = (n) => (state = (state * 1103515245 + 12345) % 2147483648) % n;
  const lines = [];
  for (let i = 0; i < 1500; i++) lines.push(Array.from({ length: 4 + next(9) }, () => WORDS[next(WORDS.length)]).join(" "));
  for (let i = 0; i < 12; i++) lines.push(...TEXTS.map((text) => text.replace(/[\r\n]/g, " ")));
  const file = path.join(os.tmpdir(), "tokenizer-fixture-corpus.txt");
  fs.writeFileSync(file, lines.join("\n"));
  return file;
}

const BYTES = Array.from({ length: 256 }, (_, value) => `<0x${value.toString(16).toUpperCase().padStart(2, "0")}>`);
const ALPHABET = (() => {
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => ((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? String.fromCodePoint(b) : String.fromCodePoint(next++)));
})();

/** A tokenizer.json: trained by the library, cut to a size, special tokens first. */
function build({ model, normalizer = null, pre = null, post = null, decoder = null, special = [], added = [], size = 300, alphabet = [] }) {
  const file = corpus();
  const empty = { BPE: { vocab: {}, merges: [] }, WordPiece: { vocab: {}, max_input_chars_per_word: 100 }, WordLevel: { vocab: {} }, Unigram: { vocab: [["<unk>", 0]], unk_id: 0 } }[model.type];
  const shell = { version: "1.0", truncation: null, padding: null, added_tokens: [], normalizer, pre_tokenizer: pre, post_processor: null, decoder: null };
  const options = { unk_token: null, ...model };
  delete options.byte_fallback;
  if (model.type === "Unigram") delete options.unk_token;
  if (model.type === "WordPiece" || model.type === "WordLevel") options.unk_token = model.unk_token;
  const trained = Tokenizer.fromString(JSON.stringify({ ...shell, model: { ...options, ...empty } }));
  trained.train([file]);
  const saved = path.join(os.tmpdir(), "tokenizer-fixture.json");
  trained.save(saved);
  const json = JSON.parse(fs.readFileSync(saved, "utf8"));
  const final = { ...json.model, ...model };
  const number = (tokens) => Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id]));
  if (model.type === "BPE") {
    const all = json.model.merges.map((merge) => (typeof merge === "string" ? merge.split(" ") : merge));
    const join = ([left, right]) => left + right.slice((model.continuing_subword_prefix ?? "").length);
    const pairs = all.slice(0, size);
    const results = pairs.map(join);
    const made = new Set(all.map(join));
    const single = Object.keys(json.model.vocab).filter((token) => !made.has(token));
    final.vocab = number([...special, ...alphabet, ...single, ...results]);
    final.merges = pairs;
  } else if (model.type === "Unigram") {
    const pieces = json.model.vocab.filter(([token]) => !special.includes(token) && token !== "<unk>").slice(0, size);
    final.vocab = [...special.map((token) => [token, 0]), ...pieces];
    final.unk_id = special.indexOf("<unk>");
  } else {
    const tokens = Object.entries(json.model.vocab).sort((a, b) => a[1] - b[1]).map(([token]) => token);
    const short = model.type === "WordPiece" ? tokens.filter((token) => [...token.replace("##", "")].length === 1) : [];
    final.vocab = number([...special, ...short, ...tokens.slice(0, size + short.length)]);
  }
  const ids = model.type === "Unigram" ? Object.fromEntries(final.vocab.map(([token], id) => [token, id])) : final.vocab;
  let top = Math.max(...Object.values(ids)) + 1;
  const entries = special.map((content) => ({ id: ids[content], content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }));
  for (const token of added) entries.push({ id: ids[token.content] ?? top++, single_word: false, lstrip: false, rstrip: false, normalized: true, special: false, ...token });
  entries.sort((a, b) => a.id - b.id);
  const idOf = (content) => ids[content] ?? entries.find((entry) => entry.content === content).id;
  return { ...shell, added_tokens: entries, post_processor: post ? post(idOf) : null, decoder, model: final };
}

const template = (single, pair, tokens) => (idOf) => {
  const parts = (text) =>
    text.split(" ").map((part) => {
      const [name, type] = part.split(":");
      return name === "$A" || name === "$B" ? { Sequence: { id: name[1], type_id: Number(type ?? 0) } } : { SpecialToken: { id: name, type_id: Number(type ?? 0) } };
    });
  return {
    type: "TemplateProcessing", single: parts(single), pair: parts(pair),
    special_tokens: Object.fromEntries(tokens.map((token) => [token, { id: token, ids: [idOf(token)], tokens: [token] }])),
  };
};
const byteLevel = (prefix, regex = true, trim = true) => ({ type: "ByteLevel", add_prefix_space: prefix, trim_offsets: trim, use_regex: regex });
const sequence = (kind, ...steps) => ({ type: "Sequence", [kind]: steps });
const split = (pattern, behavior = "Isolated", invert = false) => ({ type: "Split", pattern: { Regex: pattern }, behavior, invert });
const replace = (pattern, content) => ({ type: "Replace", pattern, content });
const metaspace = (scheme, splits = true) => ({ type: "Metaspace", replacement: "▁", prepend_scheme: scheme, split: splits });
const QWEN = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const LLAMA3 = QWEN.replace("|\\p{N}|", "|\\p{N}{1,3}|");
const BERT = { pre: { type: "BertPreTokenizer" }, decoder: { type: "WordPiece", prefix: "##", cleanup: true }, special: ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] };
const bertNormalizer = (lowercase, strip) => ({ type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, strip_accents: strip, lowercase });
const bert = (lowercase, strip) => build({
  ...BERT, model: { type: "WordPiece", unk_token: "[UNK]", continuing_subword_prefix: "##", max_input_chars_per_word: 100 },
  normalizer: bertNormalizer(lowercase, strip), post: template("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ["[CLS]", "[SEP]"]),
});
const LLAMA_DECODER = sequence("decoders", replace({ String: "▁" }, " "), { type: "ByteFallback" }, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 });
const llamaModel = (fuse) => ({ type: "BPE", unk_token: "<unk>", byte_fallback: true, fuse_unk: fuse });
const plain = (normalizer) => build({ model: { type: "BPE", unk_token: "<unk>" }, special: ["<unk>"], normalizer, pre: { type: "WhitespaceSplit" } });
const gpt2 = (prefix) => build({ model: { type: "BPE" }, special: ["<|endoftext|>"], alphabet: ALPHABET, pre: byteLevel(prefix), post: () => byteLevel(prefix, true, false), decoder: byteLevel(true) });
const qwen2 = () => build({
  model: { type: "BPE" }, special: ["<|endoftext|>"], alphabet: ALPHABET, normalizer: { type: "NFC" },
  pre: sequence("pretokenizers", split(QWEN), byteLevel(false, false)), post: () => byteLevel(false, true, false), decoder: byteLevel(false),
});
const clip = () => build({
  model: { type: "BPE", unk_token: "<|endoftext|>", continuing_subword_prefix: "", end_of_word_suffix: "</w>", fuse_unk: false },
  special: ["<|startoftext|>", "<|endoftext|>"], alphabet: [...ALPHABET, ...ALPHABET.map((c) => c + "</w>")],
  normalizer: sequence("normalizers", { type: "NFC" }, replace({ Regex: "\\s+" }, " "), { type: "Lowercase" }),
  pre: sequence("pretokenizers", split("'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+", "Removed", true), byteLevel(false)),
  post: (id) => ({ type: "RobertaProcessing", sep: ["<|endoftext|>", id("<|endoftext|>")], cls: ["<|startoftext|>", id("<|startoftext|>")], trim_offsets: false, add_prefix_space: false }),
  decoder: byteLevel(false),
});
const roberta = (prefix) => build({
  model: { type: "BPE" }, special: ["<s>", "<pad>", "</s>", "<unk>"], alphabet: ALPHABET, pre: byteLevel(prefix), decoder: byteLevel(true),
  added: [{ content: "<mask>", lstrip: true, normalized: false, special: true }],
  post: (id) => ({ type: "RobertaProcessing", sep: ["</s>", id("</s>")], cls: ["<s>", id("<s>")], trim_offsets: true, add_prefix_space: prefix }),
});

const KINDS = {
  "bert-uncased": () => bert(true, null),
  "bert-cased": () => bert(false, false),
  "bert-cased-stripped": () => bert(false, true),
  "bert-processing": () => ({ ...bert(true, null), post_processor: { type: "BertProcessing", sep: ["[SEP]", 3], cls: ["[CLS]", 2] } }),
  gpt2: () => gpt2(false),
  "gpt2-prefix-space": () => gpt2(true),
  roberta: () => roberta(false),
  "roberta-prefix-space": () => roberta(true),
  qwen2,
  llama3: () => build({
    model: { type: "BPE", ignore_merges: true }, special: ["<|begin|>", "<|endoftext|>"], alphabet: ALPHABET, pre: sequence("pretokenizers", split(LLAMA3), byteLevel(false, false)),
    post: (id) => sequence("processors", byteLevel(true), template("<|begin|> $A", "<|begin|> $A <|begin|>:1 $B:1", ["<|begin|>"])(id)), decoder: byteLevel(true),
  }),
  clip,
  llama: () => build({
    model: llamaModel(true), special: ["<unk>", "<s>", "</s>"], alphabet: BYTES, decoder: LLAMA_DECODER,
    normalizer: sequence("normalizers", { type: "Prepend", prepend: "▁" }, replace({ String: " " }, "▁")), post: template("<s> $A", "<s> $A <s>:1 $B:1", ["<s>"]),
  }),
  "llama-few-characters": () => {
    const json = build({ model: llamaModel(true), special: ["<unk>", "<s>", "</s>"], alphabet: BYTES, decoder: LLAMA_DECODER, pre: metaspace("first", false) });
    const keep = (token) => /^[▁a-z]+$|^<.*>$/.test(token);
    json.model.merges = json.model.merges.filter((pair) => pair.every(keep));
    json.model.vocab = Object.fromEntries(Object.keys(json.model.vocab).filter(keep).map((token, id) => [token, id]));
    return json;
  },
  "unknown-fused": () => {
    const json = build({ model: { type: "BPE", unk_token: "<unk>", fuse_unk: true }, special: ["<unk>"], pre: metaspace("always") });
    const keep = (token) => /^[▁a-z]+$|^<.*>$/.test(token);
    json.model.merges = json.model.merges.filter((pair) => pair.every(keep));
    json.model.vocab = Object.fromEntries(Object.keys(json.model.vocab).filter(keep).map((token, id) => [token, id]));
    return json;
  },
  "unigram-nfkc": () => build({
    model: { type: "Unigram" }, special: ["<pad>", "</s>", "<unk>"], decoder: metaspace("always"), pre: metaspace("always"),
    normalizer: sequence("normalizers", { type: "Nmt" }, { type: "NFKC" }, replace({ Regex: " {2,}" }, " ")), post: template("$A </s>", "$A </s> $B </s>", ["</s>"]),
  }),
  "unigram-few": () => {
    const json = build({ model: { type: "Unigram", byte_fallback: false }, special: ["<unk>"], decoder: metaspace("never"), pre: metaspace("never") });
    json.model.vocab = json.model.vocab.filter(([token]) => /^[▁a-z]+$|^<.*>$/.test(token));
    return json;
  },
  "unigram-bytes": () => {
    const json = build({ model: { type: "Unigram", byte_fallback: true }, special: ["<unk>"], decoder: sequence("decoders", { type: "ByteFallback" }, metaspace("always")), pre: metaspace("always"), normalizer: { type: "NFC" } });
    const pieces = json.model.vocab.filter(([token]) => /^[▁a-z]+$|^<unk>$/.test(token));
    json.model.vocab = [...pieces, ...BYTES.map((token) => [token, -20])];
    return json;
  },
  "word-level": () => build({
    model: { type: "WordLevel", unk_token: "[UNK]" }, special: ["[UNK]", "[PAD]"],
    normalizer: sequence("normalizers", { type: "NFD" }, { type: "Lowercase" }, { type: "StripAccents" }, { type: "Strip", strip_left: true, strip_right: true }),
    pre: sequence("pretokenizers", { type: "Whitespace" }, { type: "Digits", individual_digits: true }, { type: "Punctuation", behavior: "Isolated" }),
    added: [{ content: "camel", single_word: true }, { content: "Inside" }, { content: "low", lstrip: true, rstrip: true, normalized: false }],
  }),
  "char-delimiter": () => build({ model: { type: "WordLevel", unk_token: "[UNK]" }, special: ["[UNK]"], pre: sequence("pretokenizers", { type: "CharDelimiterSplit", delimiter: "e" }, { type: "Digits", individual_digits: false }, { type: "Punctuation", behavior: "MergedWithPrevious" }) }),
  nfc: () => plain({ type: "NFC" }),
  nfd: () => plain({ type: "NFD" }),
  nfkc: () => plain({ type: "NFKC" }),
  "nfkd-lower": () => plain(sequence("normalizers", { type: "NFKD" }, { type: "Lowercase" })),
  "byte-normalizer": () => build({ model: { type: "BPE" }, alphabet: ALPHABET, normalizer: { type: "ByteLevel" }, decoder: byteLevel(false) }),
  "next-and-contiguous": () => build({ model: { type: "BPE", unk_token: "<unk>" }, special: ["<unk>"], pre: sequence("pretokenizers", split("\\s", "MergedWithNext"), { type: "Punctuation", behavior: "Contiguous" }), decoder: { type: "BPEDecoder", suffix: "</w>" } }),
};

const describe = (e) => ({
  ids: e.getIds(), tokens: e.getTokens(), type_ids: e.getTypeIds(), offsets: e.getOffsets(), special: e.getSpecialTokensMask(), words: e.getWordIds().map((word) => word ?? null),
});

async function expectations(json) {
  const t = Tokenizer.fromString(JSON.stringify(json));
  const cases = [];
  async function add(text, pair = null, special = true, options = {}) {
    if (options.length) t.setTruncation(options.length, { strategy: options.strategy ?? "LongestFirst", direction: (options.side ?? "Right").toLowerCase(), stride: 0 });
    let encoding;
    try {
      encoding = await t.encode(text, pair, { addSpecialTokens: special });
    } catch {
      return; // nothing left to cut: that library refuses, and so do we
    } finally {
      t.disableTruncation();
    }
    const expected = describe(encoding);
    // transformers takes the signs of words' ends out of CLIP's texts.
    const ended = (decoded) => (json.model.end_of_word_suffix && json.decoder?.type === "ByteLevel" ? decoded.replaceAll(json.model.end_of_word_suffix, " ").replace(/^[\t-\r \x1c-\x1f]+|[\t-\r \x1c-\x1f]+$/g, "") : decoded);
    cases.push({ text, pair, special, ...options, expected, decoded: ended(await t.decode(expected.ids, true)), decoded_all: ended(await t.decode(expected.ids, false)) });
  }
  for (const text of TEXTS) {
    await add(text);
    await add(text, null, false);
  }
  for (const [first, second] of PAIRS) {
    await add(first, second);
    for (const length of [9, 12, 13])
      for (const side of ["Right", "Left"])
        for (const strategy of ["LongestFirst", "OnlyFirst", "OnlySecond"]) {
          // Where both texts are too long alone, which one keeps the odd token depends on the library's version: the newest stops reading
          // a text at the limit before it asks which of the two is longer.
          const bare = { addSpecialTokens: false };
          const added = (await t.encode(first, second)).getLength() - (await t.encode(first, second, bare)).getLength();
          const shorter = Math.min((await t.encode(first, null, bare)).getLength(), (await t.encode(second, null, bare)).getLength());
          if (strategy === "LongestFirst" && shorter >= length - added) continue;
          await add(first, second, true, { length, side, strategy });
        }
    await add(first, null, true, { length: 5 });
    await add(first, null, true, { length: 5, side: "Left" });
  }
  return cases;
}

const write = (folder, name, content) => {
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, name), typeof content === "string" ? content : JSON.stringify(content));
};

const out = process.argv[2];
for (const [name, kind] of Object.entries(KINDS)) {
  const json = kind();
  write(path.join(out, name), "tokenizer.json", json);
  const cases = await expectations(json);
  write(path.join(out, name), "expected.json", cases);
  console.log(`${name}: ${cases.length} cases`);
}
// The same from vocabulary files alone.
const lines = (json) => Object.entries(json.model.vocab).sort((a, b) => a[1] - b[1]).map(([token]) => token).join("\n") + "\n";
const merges = (json) => ["#version: 0.2", ...json.model.merges.map((pair) => pair.join(" ")), ""].join("\n");
for (const [name, json, files] of [
  ["classic-bert", bert(true, null), (json) => ({ "vocab.txt": lines(json) })],
  ["classic-bert-cased", bert(false, false), (json) => ({ "vocab.txt": lines(json), "tokenizer_config.json": { do_lower_case: false, strip_accents: false } })],
  ...[["gpt2", gpt2(false), "GPT2Tokenizer"], ["roberta", roberta(false), "RobertaTokenizer"], ["qwen2", qwen2(), "Qwen2Tokenizer"], ["clip", clip(), "CLIPTokenizer"]].map(([name, json, tokenizer_class]) => [
    "classic-" + name, json, (json) => ({
      "vocab.json": { ...json.model.vocab, ...(name === "roberta" ? { "<mask>": json.added_tokens.at(-1).id } : {}) },
      "merges.txt": merges(json), "tokenizer_config.json": { tokenizer_class },
    }),
  ]),
]) {
  const cases = await expectations(json);
  for (const [file, content] of Object.entries(files(json))) write(path.join(out, name), file, content);
  write(path.join(out, name), "expected.json", cases);
  console.log(`${name}: ${cases.length} cases`);
}
