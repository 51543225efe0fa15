import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Admission } from '../../runtime/admission.ts';

describe('Admission', () => {
  test('refuses what is over its limit at once, and counts it', async () => {
    const admission = new Admission(1);
    let open: (value: number) => void = () => undefined;
    const gate = new Promise<number>((resolve) => (open = resolve));
    const first = admission.run(() => gate);
    await expect(admission.run(async () => Promise.resolve(2))).rejects.toMatchObject({ code: 'overloaded' });
    expect([admission.inFlight, admission.refused]).toEqual([1, 1]);
    open(1);
    expect(await first).toBe(1);
    expect(await admission.run(async () => Promise.resolve(3))).toBe(3);
  });

  test('is idle again whatever fails', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 5 }), fc.array(fc.boolean()), async (limit, works) => {
        const admission = new Admission(limit);
        const settled = works.map((works) =>
          admission
            .run(async () => (works ? Promise.resolve() : Promise.reject(new Error('no'))))
            .catch(() => undefined),
        );
        expect(admission.inFlight).toBeLessThanOrEqual(limit);
        await Promise.all([admission.idle(), ...settled]);
        expect(admission.inFlight).toBe(0);
        expect(admission.refused).toBe(Math.max(0, works.length - limit));
      }),
    );
  });
});
