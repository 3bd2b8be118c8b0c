// The service's names in words for people, and its numbers and times as people write them.

export const ANIMALS = { cat: "Cat", dog: "Dog", other: "Other" };

export const STATUSES = {
  uploading: "Sending",
  processing: "Being looked at",
  completed: "Sorted",
  needs_review: "Not sure",
  rejected: "Rejected",
  held: "Waits for another day",
  failed: "Failed",
};

export const REASONS = {
  NOT_AN_IMAGE: "Not a picture",
  UNSUPPORTED_FORMAT: "A format that cannot be read",
  TOO_SMALL: "Too small",
  TOO_LARGE: "Too large",
  TOO_MANY_PIXELS: "Too many pixels",
  TRUNCATED: "The end is missing",
  DAMAGED: "Damaged",
  EMPTY: "Empty",
  UNSAFE_CONTENT: "Content that is not accepted",
};

/** What became of an image: {kind, text} for a pill. */
export function outcome(image) {
  if (image.status === "completed") return { kind: image.animal, text: ANIMALS[image.animal] };
  if (image.status === "needs_review") return { kind: "uncertain", text: "Not sure" };
  const kind = { rejected: "rejected", failed: "failed" }[image.status] ?? "waiting";
  return { kind, text: STATUSES[image.status] ?? image.status };
}

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
export const number = (value) => NUMBER.format(value);
export const percent = (value) => `${NUMBER.format(value)} %`;

const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
/** A time of the service (RFC 3339, UTC) in the reader's own. */
export const when = (text) => (text ? MOMENT.format(new Date(text)) : "");

/** A person, or the last part of an ARN: who changes something on the command line has no other name. */
export const whose = (name) => name.replace(/^arn:.*[:/]/, "");

export function bytes(size) {
  if (size < 1024) return `${size} bytes`;
  return size < 1024 * 1024 ? `${Math.round(size / 1024)} KB` : `${NUMBER.format(size / 1024 / 1024)} MB`;
}

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
