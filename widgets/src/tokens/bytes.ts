// Tokens that are pieces of a character: tokenizers of bytes write them in letters that mean something else.

/** Bytes that a byte-level tokenizer's letters stand for (the alphabet of GPT-2); null when one is none of them. */
export function bytesOf(piece: string): number[] | null {
  const bytes: number[] = [];
  for (const letter of piece) {
    const byte = ALPHABET.get(letter.codePointAt(0)!);
    if (byte === undefined) return null;
    bytes.push(byte);
  }
  return bytes;
}

/** Letters 33–126, 161–172 and 174–255 are their own bytes; the other bytes follow from 256 on. */
const ALPHABET = (() => {
  const own = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  const others = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !own(byte));
  const pairs = Array.from({ length: 256 }, (_, byte): [number, number] => [own(byte) ? byte : 256 + others.indexOf(byte), byte]);
  return new Map(pairs);
})();

const utf8 = new TextDecoder("utf-8", { fatal: true });
const LONGEST = 4; // tokens that one character may be spread over

/** Tokens as they are shown: pieces of a character as the bytes they are, such as ‹E6›‹9D›; all others as they were. */
export function readable(tokens: readonly string[]): string[] {
  const shown = [...tokens];
  for (let at = 0; at < tokens.length; at++) {
    const first = bytesOf(tokens[at]!);
    if (!first || first.length === 0 || first.every((byte) => byte < 128)) continue;
    const bytes = [...first];
    for (let end = at + 1; end <= Math.min(at + LONGEST - 1, tokens.length - 1); end++) {
      const next = bytesOf(tokens[end]!);
      if (!next || next.length === 0) break;
      bytes.push(...next);
      if (!decodes(bytes)) continue;
      for (let i = at; i <= end; i++) shown[i] = bytesOf(tokens[i]!)!.map((byte) => `‹${byte.toString(16).toUpperCase().padStart(2, "0")}›`).join("");
      at = end;
      break;
    }
  }
  return shown;
}

/** Whether these bytes are whole characters, and not plain letters only. */
function decodes(bytes: readonly number[]): boolean {
  try {
    utf8.decode(Uint8Array.from(bytes));
    return true;
  } catch {
    return false;
  }
}
