/**
 * Headers by their names in lower case, as node gives them: a repeated one may be a list. Many messages may share one
 * object, so nobody changes it.
 */
export type HeaderFields = Readonly<Record<string, string | string[] | undefined>>;
