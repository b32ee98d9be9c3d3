import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkText } from './docs.ts';

const GOOD = `
[code](src/cli/app.ts), [a heading](ARCHITECTURE.md#the-rooms), [elsewhere](https://example.org/x.md), \`[no](link)\`

\`diskdump version --json\` and \`diskdump version | head\`

\`\`\`sh
diskdump version --quiet   # a comment --with-words
$ bin/diskdump version > file --x
npm run demo
\`\`\`
`;

test('a sound document has no problems', async () => {
  assert.deepEqual(await checkText('README.md', GOOD), []);
});

const WRONG: Readonly<Record<string, readonly [string, RegExp]>> = {
  'a link to nothing': ['[x](src/gone.ts)', /link to docs\/src\/gone\.ts, which is not there/],
  'a link from a folder': ['[x](adr/none.md)', /link to docs\/adr\/none\.md/],
  'a heading that is not there': ['[x](../README.md#no-such)', /heading #no-such/],
  'an unknown verb in a span': ['say `diskdump explode`', /:1: .*no verb 'explode'/],
  'an unknown flag in a span': ['say `diskdump version --loud`', /no flag '--loud'/],
  'an unknown flag in a block': ['```\n# diskdump version --loud\n```', /:2: .*no flag '--loud'/],
};

for (const [name, [text, problem]] of Object.entries(WRONG)) {
  test(`found: ${name}`, async () => {
    const problems = await checkText('docs/page.md', text);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0]!, problem);
  });
}
