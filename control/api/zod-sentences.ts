import { z } from 'zod';
import { nearest } from './nearest.ts';

/** A wrong field: where it is (`spec.predictor.containers[0].name`), and a whole sentence about it. */
export interface FieldError {
  readonly path: string;
  readonly message: string;
}

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

const errorsMax = 20;

/**
 * Turns zod's issues into sentences for people who write manifests: they name the field, what it must be and what it
 * is, and for an unknown field the known one that it was probably meant to be.
 */
export function sentences(schema: unknown, input: unknown, issues: readonly Issue[]): FieldError[] {
  return issues.flatMap((issue) => sentencesOf(schema, input, issue)).slice(0, errorsMax);
}

function sentencesOf(schema: unknown, input: unknown, issue: Issue): FieldError[] {
  if (issue.code === 'unrecognized_keys') {
    const known = knownFields(schema, issue.path);
    return issue.keys.map((key) => {
      const path = pathText([...issue.path, key]);
      const close = nearest(key, known);
      const hint = close === null ? '' : `; did you mean ${pathText([...issue.path, close])}?`;
      return { path, message: `${path} is not a known field${hint}` };
    });
  }
  const value = valueAt(input, issue.path);
  const path = pathText(issue.path);
  const subject = path === '' ? 'the body' : path;
  return [{ path, message: `${subject} ${predicate(issue, value)}` }];
}

function predicate(issue: Issue, value: unknown): string {
  switch (issue.code) {
    case 'invalid_type':
      return value === undefined
        ? `is missing: it must be ${typeText(issue.expected)}`
        : `must be ${typeText(issue.expected)}, not ${valueText(value)}`;
    case 'invalid_value': {
      const values = issue.values.map((allowed) => JSON.stringify(allowed));
      const what = values.length === 1 ? String(values[0]) : `one of ${values.join(', ')}`;
      return value === undefined
        ? `is missing: it must be ${what}`
        : `must be ${what}, not ${valueText(value)}`;
    }
    case 'too_small':
      return sizeText(issue.origin, 'at least', Number(issue.minimum), value);
    case 'too_big':
      return sizeText(issue.origin, 'at most', Number(issue.maximum), value);
    case 'invalid_union':
      return value === undefined ? 'is missing' : `has none of the allowed forms: ${valueText(value)}`;
    case 'invalid_format':
      return `is ${valueText(value)}, which is not allowed: ${issue.message}`;
    case 'invalid_key':
    case 'invalid_element':
    case 'not_multiple_of':
    case 'custom':
    case 'unrecognized_keys':
      return `is wrong: ${issue.message}`;
  }
}

function sizeText(origin: string, bound: string, limit: number, value: unknown): string {
  if (origin === 'string') {
    if (bound === 'at least' && limit === 1) return 'must not be empty';
    return `must have ${bound} ${limit} characters`;
  }
  if (origin === 'array' || origin === 'set') return `must have ${bound} ${limit} entries`;
  return `must be ${bound} ${limit}, not ${valueText(value)}`;
}

const typeNames: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a string',
  boolean: 'true or false',
  object: 'an object',
  record: 'an object',
  array: 'a list',
  null: 'null',
};

function typeText(expected: string): string {
  return typeNames[expected] ?? expected;
}

function valueText(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string') {
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
  }
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : typeof value;
}

/** `spec.containers[0].env`, with quotes around what is no plain name. */
export function pathText(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    const name = String(part);
    if (!/^[\w-]+$/.test(name)) return `${text}[${JSON.stringify(name)}]`;
    return text === '' ? name : `${text}.${name}`;
  }, '');
}

function valueAt(input: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, part) =>
      typeof value === 'object' && value !== null
        ? (value as Readonly<Record<PropertyKey, unknown>>)[part]
        : undefined,
    input,
  );
}

/** Names of the fields that the schema has at a path. */
function knownFields(schema: unknown, path: Path): string[] {
  let at: readonly unknown[] = [schema];
  for (const part of path) at = at.flatMap((one) => descend(one, part));
  return at.flatMap((one) => objects(one)).flatMap((object) => Object.keys(object.shape));
}

function descend(schema: unknown, part: PropertyKey): unknown[] {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodUnion) return inner.options.flatMap((option) => descend(option, part));
  if (inner instanceof z.ZodObject) {
    const shape = inner.shape as Readonly<Record<PropertyKey, unknown>>;
    return shape[part] === undefined ? [] : [shape[part]];
  }
  if (inner instanceof z.ZodArray) return [inner.element];
  if (inner instanceof z.ZodRecord) return [inner.valueType];
  return [];
}

function objects(schema: unknown): z.ZodObject[] {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodUnion) return inner.options.flatMap((option) => objects(option));
  return inner instanceof z.ZodObject ? [inner] : [];
}

function unwrap(schema: unknown): unknown {
  let inner = schema;
  while (
    inner instanceof z.ZodOptional ||
    inner instanceof z.ZodNullable ||
    inner instanceof z.ZodDefault ||
    inner instanceof z.ZodPrefault
  ) {
    inner = inner.unwrap();
  }
  return inner;
}
