// Built by make bundle from js; sources f17f36704e530a0cbada2759f8c09169b77e9b510717f855c6d1bc115b2b4970, lines below 28c2ce66a4b55ab490ba6e4a976ca91965e1315d4c0d2e41aa93935c793a0b98
/*
htm 3.1.1, Apache License 2.0

preact 11.2.0
The MIT License (MIT)

Copyright (c) 2015-present Jason Miller

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
*/
var moeregView=(()=>{var le=Object.defineProperty;var qt=Object.getOwnPropertyDescriptor;var Vt=Object.getOwnPropertyNames;var Gt=Object.prototype.hasOwnProperty;var Jt=(t,e)=>{for(var n in e)le(t,n,{get:e[n],enumerable:!0})},Kt=(t,e,n,o)=>{if(e&&typeof e=="object"||typeof e=="function")for(let s of Vt(e))!Gt.call(t,s)&&s!==n&&le(t,s,{get:()=>e[s],enumerable:!(o=qt(e,s))||o.enumerable});return t};var Qt=t=>Kt(le({},"__esModule",{value:!0}),t);var Nn={};Jt(Nn,{default:()=>On,mountAll:()=>Bt,mountLive:()=>V});var Re=function(t,e,n,o){var s;e[0]=0;for(var r=1;r<e.length;r++){var a=e[r++],i=e[r]?(e[0]|=a?1:2,n[e[r++]]):e[++r];a===3?o[0]=i:a===4?o[1]=Object.assign(o[1]||{},i):a===5?(o[1]=o[1]||{})[e[++r]]=i:a===6?o[1][e[++r]]+=i+"":a?(s=t.apply(i,Re(t,i,n,["",null])),o.push(s),i[0]?e[0]|=2:(e[r-2]=0,e[r]=s)):o.push(i)}return o},Le=new Map;function Ue(t){var e=Le.get(this);return e||(e=new Map,Le.set(this,e)),(e=Re(this,e.get(t)||(e.set(t,e=(function(n){for(var o,s,r=1,a="",i="",u=[0],l=function(p){r===1&&(p||(a=a.replace(/^\s*\n\s*|\s*\n\s*$/g,"")))?u.push(0,p,a):r===3&&(p||a)?(u.push(3,p,a),r=2):r===2&&a==="..."&&p?u.push(4,p,0):r===2&&a&&!p?u.push(5,0,!0,a):r>=5&&((a||!p&&r===5)&&(u.push(r,0,a,s),r=6),p&&(u.push(r,p,0,s),r=6)),a=""},_=0;_<n.length;_++){_&&(r===1&&l(),l(_));for(var f=0;f<n[_].length;f++)o=n[_][f],r===1?o==="<"?(l(),u=[u],r=3):a+=o:r===4?a==="--"&&o===">"?(r=1,a=""):a=o+a[0]:i?o===i?i="":a+=o:o==='"'||o==="'"?i=o:o===">"?(l(),r=1):r&&(o==="="?(r=5,s=a,a=""):o==="/"&&(r<5||n[_][f+1]===">")?(l(),r===3&&(u=u[0]),r=u,(u=u[0]).push(2,0,r),r=0):o===" "||o==="	"||o===`
`||o==="\r"?(l(),r=2):a+=o),r===3&&a==="!--"&&(r=4,u=u[0])}return l(),u})(t)),e),arguments,[])).length>1?e:e[0]}var b,We,Xt,A,fe,X,Be,J,qe,me,pe,Yt,W=Symbol.for("pv"),Y={},Z=[],Zt=/^m(i|n|o|s|text|space)$/,he=Array.isArray,de=Z.slice,I=Object.assign;function N(t){t&&t.parentNode&&t.remove()}function Ve(t,e,n){var o,s,r,a={},i=arguments.length;for(r in e)r=="key"?o=e[r]:r=="ref"&&typeof t!="function"?s=e[r]:a[r]=e[r];return i>2&&(a.children=i>3?de.call(arguments,2):n),H(t,a,o,s,null)}function H(t,e,n,o,s){var r={type:t,props:e,key:n,ref:o,__k:null,__:null,__b:0,__e:null,__c:null,constructor:W,__v:s||++We,__i:-1,__u:0};return!s&&b.vnode&&b.vnode(r),r}function z(t){return t.children}function K(t,e){this.props=t,this.context=e,this.__g=0}function C(t,e){if(e==null)return t.__&&C(t.__,t.__i+1);for(var n;e<t.__k.length;e++)if((n=t.__k[e])&&n.__e)return n.__e;return typeof t.type!="function"||t.props.__P?null:C(t)}function zt(t){var e,n=t.__v,o=n.__e,s=[],r=[],a=t.__P;a&&((e=I({constructor:W},n)).__v=n.__v+1,b.vnode&&b.vnode(e),ge(a,e,n,t.__n,a.namespaceURI,32&n.__u?[o]:null,s,o||C(n),32&n.__u,r),e.__v=n.__v,e.__.__k[e.__i]=e,Ye(s,e,r),n.__=n.__e=null,e.__e!=o&&Ge(e))}function Ge(t){if((t=t.__)&&t.__c&&!t.props.__P)return t.__e=null,t.__k.some(function(e){return e&&(t.__e=e.__e)}),Ge(t)}function je(t){(8&t.__g||(t.__g|=8,A.push(t),X++))&&fe==b.debounceRendering||((fe=b.debounceRendering)||queueMicrotask)(Je)}function Je(){try{for(var t,e=1;A.length;)A.length>e&&A.sort(Be),t=A.shift(),e=A.length,8&t.__g&&zt(t)}finally{(X=A.length)&&(fe||queueMicrotask)(Je)}}function Ke(t,e,n,o,s,r,a,i,u,l,_){var f,p,c,m,d,v,$=o.__k||Z,h=e.length;for(u=en(n,e,$,u,h),f=0;f<h;f++)(c=n.__k[f])!=null&&(p=~c.__i&&$[c.__i]||Y,c.__i=f,v=ge(t,c,p,s,r,a,i,u,l,_),m=c.__e,(p.ref!=c.ref||8&p.__u)&&(p.ref&&we(p.ref,null,c,p),c.ref&&_.push(c.ref,c.__c||m,c)),d=d||m,4&c.__u?(u=Qe(c,u,t,!p.__v),p.__e&&(p.__e=null)):typeof c.type=="function"&&v!==void 0?u=v:m&&(u=m.nextSibling),c.__u&=-21);return n.__e=d,u}function en(t,e,n,o,s){var r,a,i,u,l,_,f,p,c,m=n.length,d=m,v=0,$=0,h=t.__k=Array(s);for(r=0;r<s;r++)(a=e[r])!=null&&typeof a!="boolean"&&typeof a!="function"?(typeof a!="object"||a.constructor===String?a=h[r]=H(null,a):he(a)?a=h[r]=H(z,{children:a}):a.constructor===W&&a.__b?a=h[r]=H(a.type,a.props,a.key,a.ref,a.__v):h[r]=a,u=r+v,a.__=t,a.__b=t.__b+1,i=null,~(l=a.__i=tn(a,n,u,d))&&(d--,(i=n[l])&&(i.__u|=2)),i&&i.__v?(a.__u|=16,l==u-1?v--:l==u+1?v++:l!=u&&(l>u?v--:v++,$=1)):(~l||(s>m?v--:s<m&&v++),typeof a.type!="function"&&(a.__u|=4))):h[r]=null;if($){for(_=[],f=[],r=0;r<s;r++)if((a=h[r])&&16&a.__u){for(v=0,p=_.length;v<p;)_[c=v+p>>1]<a.__i?v=c+1:p=c;_[v]=a.__i,f[r]=v+1}for(v=_.length;r--;)f[r]&&(f[r]==v?v--:h[r].__u|=4)}if(d)for(r=0;r<m;r++)!(i=n[r])||2&i.__u||(i.__e==o&&(o=C(i)),ve(i,i));return o}function Qe(t,e,n,o){var s,r,a,i;if(typeof t.type=="function"){if(t.props.__P)return e;if(s=t.__k)for(r=0;r<s.length;r++)s[r]&&(s[r].__=t,e=Qe(s[r],e,n,!1));return e}for(e&&!e.parentNode&&(e=C(t))&&!e.parentNode&&(e=null),a=t.__e,i=e;i&&i.nodeType==8;)i=i.nextSibling;for(a!=i&&(!o&&n.moveBefore&&a.parentNode?n.moveBefore(a,e):n.insertBefore(a,e||null)),e=a;(e=e&&e.nextSibling)&&e.nodeType==8&&!e.data.startsWith("$s"););return e}function tn(t,e,n,o){var s,r=t.key,a=t.type,i=e[n],u=i&&!(2&i.__u);if(i===null&&r==null||u&&r==i.key&&a==i.type)return n;if(o>(u?1:0)){for(s=n-1;s>=0;s--)if((i=e[s])&&!(2&i.__u)&&r==i.key&&a==i.type)return s;for(s=n+1;s<e.length;s++)if((i=e[s])&&!(2&i.__u)&&r==i.key&&a==i.type)return s}return-1}function He(t,e,n){n==null&&(n=""),e[0]=="-"?t.setProperty(e,n):t[e]=n}function G(t,e,n,o,s){var r,a;if(e=="style")if(typeof n=="string")t.style.cssText=n;else{if(typeof o=="string"&&(t.style.cssText=o=""),o)for(e in o)n&&e in n||He(t.style,e);if(n)for(e in n)o&&n[e]==o[e]||He(t.style,e,n[e])}else if(e[0]=="o"&&e[1]=="n")typeof n!="function"&&(n=null),typeof o!="function"&&(o=null),(t.__e||(t.__e={}))[e]=n,n&&o||(a=pe[e]||(pe[e]=nn(e)),(t.__a||(t.__a={}))[e]=me,r=e!=(e=e.replace(qe,"$1")),(e=e.slice(2))[0]<"a"&&(e=e.toLowerCase()),n?t.addEventListener(e,a,r):t.removeEventListener(e,a,r));else{if(s=="http://www.w3.org/2000/svg")e=e.replace(/xlink(H|:h)/,"h").replace(/sName$/,"s");else if(e!="width"&&e!="height"&&e!="href"&&e!="list"&&e!="form"&&e!="tabIndex"&&e!="download"&&e!="rowSpan"&&e!="colSpan"&&e!="role"&&e!="popover"&&e in t)try{return void(t[e]=n??"")}catch{}if(typeof n=="function")return;n==null||n===!1&&e[4]!="-"?t.removeAttribute(e):t.setAttribute(e,e=="popover"&&n==1?"":n)}}function nn(t){return function(e){var n=this.__e;if(n){if(n=n[t],e[J]==null)e[J]=me++;else if(e[J]<this.__a[t])return;return n(b.event?b.event(e):e)}}}function ge(t,e,n,o,s,r,a,i,u,l){var _,f,p,c,m,d,v,$,h,w,g,M,R,U,S,Fe,E,O,P=e.type;if(e.constructor!==W)return null;128&n.__u&&(u=32&n.__u,_=n.__c.__z)&&(e.__u|=u,f=r=[],_.nodeType==8?i=Q(_,r):r.push(_),i=r[0]||i),(_=b.__b)&&_(e);e:if(typeof P=="function"){p=a.length;try{if($=e.props,h=(_=P.prototype)&&_.render,w=(_=P.contextType)&&o[_.__c],g=_?w?w.props.value:_.__:o,(c=n.__c)?(e.__c=c,2&c.__g&&(c.__g|=1)):(h?e.__c=c=new P($,g):(e.__c=c=new K($,g),c.constructor=P,c.render=rn),w&&w.sub(c),c.state||(c.state={}),c.__n=o,c.__g|=8,c.__h=[],c.__k=[]),h&&(c.__s||(c.__s=c.state),P.getDerivedStateFromProps&&(c.__s==c.state&&(c.__s=I({},c.__s)),I(c.__s,P.getDerivedStateFromProps($,c.__s)))),m=c.props,d=c.state,c.__v=e,n.__c){if($!==m&&h&&!P.getDerivedStateFromProps&&c.componentWillReceiveProps&&c.componentWillReceiveProps($,g),e.__v==n.__v&&!(8&c.__g)||!(4&c.__g)&&c.shouldComponentUpdate&&c.shouldComponentUpdate($,c.__s,g)===!1){e.__v!=n.__v&&(c.props=$,c.state=c.__s,c.__g&=-9),e.__e=n.__e,e.__k=n.__k,e.__k.some(function(T){T&&(T.__=e)}),Z.push.apply(c.__h,c.__k),c.__k=[],c.__h.length&&a.push(c),i=C(n);break e}c.componentWillUpdate&&c.componentWillUpdate($,c.__s,g),h&&c.componentDidUpdate&&c.__h.push(function(){c.componentDidUpdate(m,d,v)})}else h&&!P.getDerivedStateFromProps&&c.componentWillMount&&c.componentWillMount(),h&&c.componentDidMount&&c.__h.push(c.componentDidMount);c.context=g,c.props=$,c.__P=t,c.__g&=-5,M=b.__r,R=h?25:0;do c.__g&=-9,M&&M(e),_=c.render(c.props,c.state=c.__s,c.context);while(8&c.__g&&++R<25);h&&(Z.push.apply(c.__h,c.__k),c.__k=[]),c.state=c.__s,c.getChildContext&&(o=I({},o,c.getChildContext())),h&&n.__c&&c.getSnapshotBeforeUpdate&&(v=c.getSnapshotBeforeUpdate(m,d)),U=_&&_.type===z&&_.key==null?_.props.children:_,$.__P&&(_=i,s=(t=$.__P).namespaceURI,u=r=null,n.props&&n.props.__P!=t&&(n.__k.some(function(T){T&&ve(T,T)}),n.__k=null),i=n.__k?C(n,0):null),i=Ke(t,he(U)?U:[U],e,n,o,s,r,a,i,u,l),$.__P&&(e.__e=null,i=_),e.__u&=-161,f&&f.some(N),c.__h.length&&a.push(c),1&c.__g&&(c.__g&=-4)}catch(T){if(a.length=p,e.__v=null,u||r)if(T&&T.then){if(e.__u|=128|u,r){for(~(E=r.indexOf(i||void 0))||(E=r.length);(O=r[E-1])&&O.nodeType==8;)E--;for(;E<r.length;E++)if(O=r[E])if(r[E]=null,S){if(O==Fe)break}else{if(O.nodeType!=8)break;O.data.startsWith("$s")&&(Fe=Q(S=O))}}if(!S){for(;i&&i.nodeType==8&&i.nextSibling;)i=i.nextSibling;S=i}(_=Q(S=e.__c.__z||(e.__c.__z=S)))?(e.__e=S,i=_):e.__e=i,i=i&&i.nextSibling}else r&&r.some(N);else e.__e=n.__e;e.__k||(e.__k=n.__k||[]),T&&T.then||Xe(e),b.__e(T,e,n)}}else i=e.__e=on(n.__e,e,n,o,s,r,a,u,l,t);return(_=b.diffed)&&_(e),i}function Q(t,e){if(t&&t.nodeType==8&&t.data.startsWith("$s"))for(var n=1;t=t.nextSibling;){if(t.nodeType==8){if(t.data.startsWith("$s"))n++;else if(t.data.startsWith("/$s")&&!--n)return t}e&&e.push(t)}}function Xe(t){t&&(t.__c&&(t.__c.__g|=4),t.__k&&t.__k.some(Xe))}function Ye(t,e,n){for(var o=0;o<n.length;)we(n[o++],n[o++],n[o++]);b.__c&&b.__c(e,t),t.some(function(s){try{t=s.__h,s.__h=[],t.some(function(r){r.call(s)})}catch(r){b.__e(r,s.__v)}})}function on(t,e,n,o,s,r,a,i,u,l){var _,f,p,c,m,d,v,$,h=n.props||Y,w=e.props,g=e.type;if(g=="svg"?s="http://www.w3.org/2000/svg":g=="math"?s="http://www.w3.org/1998/Math/MathML":s||(s="http://www.w3.org/1999/xhtml"),r){for(_=0;_<r.length;_++)if((m=r[_])&&(g?m.localName==g:m.nodeType==3)){t=m,r[_]=null;break}}if(!t){if($=l.ownerDocument||document,!g)return $.createTextNode(w);t=$.createElementNS(s,g,w.is?w:l),i&&(b.__m&&b.__m(e,r),i=!1),r=null}if(g){if(l=g=="template"&&t.content||t,r=g=="textarea"&&w.defaultValue!=null?null:r&&de.call(l.childNodes),!i&&r)for(h={},_=0;_<t.attributes.length;_++)h[(m=t.attributes[_]).name]=m.value;for(_ in h)m=h[_],_=="dangerouslySetInnerHTML"?p=m:_=="children"||_ in w||_=="value"&&"defaultValue"in w||_=="checked"&&"defaultChecked"in w||G(t,_,null,m,s);for(_ in w)m=w[_],_=="children"?c=m:_=="dangerouslySetInnerHTML"?f=m:_=="value"?d=m:_=="checked"?v=m:i&&typeof m!="function"||h[_]===m||G(t,_,m,h[_],s);f?(i||p&&(f.__html==p.__html||f.__html==t.textContent)||(t.textContent=f.__html),e.__k=[]):(p&&(t.textContent=""),(g=="foreignObject"||s=="http://www.w3.org/1998/Math/MathML"&&Zt.test(g))&&(s="http://www.w3.org/1999/xhtml"),Ke(l,he(c)?c:[c],e,n,o,s,r,a,r?r[0]:n.__k&&C(n,0),i,u),r&&r.some(N)),i&&g!="textarea"||(_="value",g=="progress"&&d==null?t.removeAttribute(_):d==null||d===t[_]&&(g!="progress"||d)||G(t,_,d,h[_],s),_="checked",v!=null&&v!=t[_]&&G(t,_,v,h[_],s))}else h===w||i&&t.data==w||(t.data=w);return t}function we(t,e,n,o){try{typeof t=="function"?e?e.__x=t(e)||1:o&&(o=o.__c||o.__e)&&(e=o.__x)&&(o.__x=null,typeof e=="function"?e():t(null)):t.current=e}catch(s){b.__e(s,n)}}function ve(t,e,n){var o,s,r,a;if(b.unmount&&b.unmount(t),!(o=t.ref)||o.current&&o.current!=t.__e||we(o,null,e,t),o=t.__c){if(o.componentWillUnmount)try{o.componentWillUnmount()}catch(i){b.__e(i,e)}o.__P=o.__n=null}if(o=t.__k)for(a=0;a<o.length;a++)o[a]&&ve(o[a],e,typeof t.type!="function"||n&&!t.props.__P);!n&&(o=t.__c)&&(o=o.__z)&&(s=Q(o,r=[]))&&(o==t.__e&&r.some(N),N(s),N(o)),n||N(t.__e),t.__e=t.__c=t.__=null}function rn(t,e,n){return this.constructor(t,n)}function ee(t,e){var n,o,s,r;b.__&&b.__(t,e),e.nodeType==9&&(e=e.documentElement),o=(n=t&&32&t.__u)?null:e.__k,e.__k=H(z,{children:[t]}),s=[],r=[],ge(e,e.__k,o||Y,Y,e.namespaceURI,o?null:e.firstChild?de.call(e.childNodes):null,s,o?o.__e:e.firstChild,n,r),Ye(s,e.__k,r),e.__k.props.children=null}b={__e:function(t,e,n,o){for(var s,r,a;e=e.__;)if((s=e.__c)&&!(1&s.__g)){s.__g|=4;try{if((a=(r=s.constructor)&&r.getDerivedStateFromError)&&s.setState(r.getDerivedStateFromError(t)),s.componentDidCatch&&(s.componentDidCatch(t,o||{}),a=1),a&&8&s.__g)return void(s.__g|=2)}catch(i){t=i}}throw X=0,t}},We=0,Xt=function(t){return t!=null&&t.constructor===W},K.prototype.setState=function(t,e){var n=this.__s;n&&n!=this.state||(n=this.__s=I({},this.state)),typeof t=="function"&&(t=t(I({},n),this.props)),t&&(I(n,t),this.__v&&(e&&this.__k.push(e),je(this)))},K.prototype.forceUpdate=function(t){this.__v&&(this.__g|=4,t&&this.__h.push(t),je(this))},K.prototype.render=z,A=[],X=0,Be=function(t,e){return t.__v.__b-e.__v.__b},J=Symbol(),qe=/(PointerCapture)$|Capture$/i,me=0,pe={},Yt=0;var q,k,ye,Ze,$e=Object.is,te=0,it=[],be=[],x=b,ze=x.__b,et=x.__r,tt=x.diffed,nt=x.__c,ot=x.unmount,rt=x.__;function ke(t,e){x.__h&&x.__h(k,t,te||e),te=0;var n=k.__H||(k.__H={__:[],__h:[]});return t>=n.__.length&&n.__.push({}),n.__[t]}function ne(t){return te=1,sn(_t,t)}function sn(t,e,n){var o=ke(q++,2);if(o.t=t,!o.__c&&(o.__=[n?n(e):_t(void 0,e),function(r){var a=(o.__N||o.__)[0],i=o.t(a,r);$e(a,i)||(o.__N=[i,o.__[1]],o.__c.setState({}))}],o.__c=k,!k.__f)){k.__f=!0;var s=k.shouldComponentUpdate;k.shouldComponentUpdate=function(r,a,i){var u=this.__H;if(!u)return!0;var l=!1,_=this.props!=r;if(u.__.some(function(p){p.__N&&(l=!0,$e(p.__[0],p.__N[0])||(_=!0))}),s){var f=s.call(this,r,a,i);return l?f||_:f}return!l||_}}return o.__}function oe(t,e){var n=ke(q++,4);!x.__s&&ct(n.__H,e)&&(n.__P=!1,n.__=t,n.u=e,k.__h.push(n))}function j(t){return te=5,Me(function(){return{current:t}},[])}function Me(t,e){var n=ke(q++,7);return ct(n.__H,e)&&(n.__=t(),n.__H=e),n.__}function an(){var t;do{for(;t=be.shift();)try{B(t)}catch(n){x.__e(n,{__:(t=t.__P)&&t.__v})}for(;t=it.shift();){var e=t.__H;if(t.__P&&e)try{e.__h.some(B),e.__h.some(xe),e.__h=[]}catch(n){e.__h=[],x.__e(n,t.__v)}}}while(be.length)}x.__b=function(t){k=null,ze&&ze(t)},x.__=function(t,e){t&&e.__k&&e.__k.__m&&(t.__m=e.__k.__m),rt&&rt(t,e)},x.__r=function(t){et&&et(t),q=0;var e=(k=t.__c).__H;e&&(ye==k?k.__h=[]:(e.__h.some(B),e.__h.some(xe),q=0),e.__h=[],e.__.some(function(n){n.__N&&(n.__=n.__N),n.u=n.__N=void 0})),ye=k},x.diffed=function(t){tt&&tt(t);var e=t.__c;e&&e.__H&&(e.__H.__h.length&&at(it.push(e)),e.__H.__.some(function(n){n.u&&(n.__H=n.u)})),ye=k=null},x.__c=function(t,e){e.some(function(n){try{n.__h.some(B),n.__h=n.__h.filter(function(o){return!o.__||xe(o)})}catch(o){n.__h=[function(){throw o}]}}),nt&&nt(t,e)},x.unmount=function(t){ot&&ot(t);var e,n,o=t.__c;o&&o.__H&&(o.__H.__.some(function(s){try{if(s.__P&&s.__c){if(n===void 0){for(n=t.__;n&&(!n.__c||!n.__c.__P);)n=n.__;n=n&&n.__c}s.__P=n,at(be.push(s))}else B(s)}catch(r){e=r}}),o.__H=void 0,e&&x.__e(e,o.__v))};var st=typeof requestAnimationFrame=="function";function cn(t){var e,n=function(){clearTimeout(o),st&&cancelAnimationFrame(e),setTimeout(t)},o=setTimeout(n,35);st&&(e=requestAnimationFrame(n))}function at(t){t!=1&&Ze==x.requestAnimationFrame||((Ze=x.requestAnimationFrame)||cn)(an)}function B(t){var e=k,n=t.__c;typeof n=="function"&&(t.__c=void 0,n()),k=e}function xe(t){var e=k;t.__c=t.__(),k=e}function ct(t,e){return!t||t.length!=e.length||e.some(function(n,o){return!$e(n,t[o])})}function _t(t,e){return typeof e=="function"?e(t):e}function _n(t,e,n){return t==="dark"||t==="light"?t:(e?e==="false":n)?"dark":"light"}var ut=()=>matchMedia("(prefers-color-scheme: dark)"),Te=()=>_n(document.documentElement.dataset.theme,document.body.dataset.jpThemeLight,ut().matches);function lt(t){let[e,n]=[ut(),()=>t(Te())];e.addEventListener("change",n);let o=new MutationObserver(n);for(let s of[document.documentElement,document.body])o.observe(s,{attributes:!0,attributeFilter:["data-theme","data-jp-theme-light"]});return()=>{e.removeEventListener("change",n),o.disconnect()}}var y=Ue.bind(Ve);function ft(t,e){if(e.moeregShown)return ee(t,e);let n=[...e.childNodes];e.replaceChildren();try{ee(t,e),e.moeregShown=!0}catch(o){throw e.replaceChildren(...n),o}}function pt(t){ee(null,t),t.moeregShown=!1}var un=0,Se=t=>Me(()=>`${t}-${++un}`,[]);function mt(){let[t,e]=ne(Te);return oe(()=>lt(e),[]),t}var D=(t,e,n)=>Math.min(Math.max(t,e),n),ht=(t,e)=>t===e||JSON.stringify(t)===JSON.stringify(e);var dt=(t,e=2)=>{let n=Math.abs(t).toFixed(e);return(Number(n)===0?"\u2007":t<0?"\u2212":"+")+n};var F=(t,e=2)=>(t<0?"\u2212":"")+Math.abs(t).toFixed(e);async function gt(t){let e=typeof t.data=="string"?ln(t.data):t.data,n=new Blob([e]).stream().pipeThrough(new DecompressionStream("gzip")),o=new Uint8Array(await new Response(n).arrayBuffer()),s=new Map;return{...t,read:a=>(s.has(a.offset)||s.set(a.offset,fn(o,a)),s.get(a.offset))}}var ln=t=>Uint8Array.from(atob(t),e=>e.charCodeAt(0));function fn(t,{offset:e,shape:n,bits:o,axes:s,zero:r,precision:a}){let i=n.reduce((_,f)=>_*f,1),u=o===8?t.slice(e,e+i):new Uint16Array(i);if(o===16)for(let _=0;_<i;_++)u[_]=t[e+_]+(t[e+i+_]<<8);for(let _=1,f=1;_<=s;_++){let p=n[n.length-_];for(let c=0;c<i;c++)Math.floor(c/f)%p&&(u[c]+=u[c-f]);f*=p}let l=new Float32Array(i);for(let _=0;_<i;_++)l[_]=r+u[_]*a;return{shape:n,values:l}}function wt(t){let e=new Set;return{get state(){return t},set(n){let o=Object.entries(n).filter(([r,a])=>!ht(t[r],a));if(!o.length)return;t={...t,...Object.fromEntries(o)};let s=new Set(o.map(([r])=>r));for(let r of[...e])r(t,s)},subscribe(n){return e.add(n),()=>e.delete(n)}}}function vt(t,e,n,o){let[s,r]=t,a=[new Float64Array(s*r),new Float64Array(s*r)];return e.forEach(([i,u],l)=>{for(let _=0,f=0;f<s;f++)for(let p=0;p<r;p++,_++){let c=Math.exp(-((f-i)**2+(p-u)**2)/(2*o*o));a[0][_]+=n[l][0]*c,a[1][_]+=n[l][1]*c}}),a}function re(t,e,n){let[o,s]=e,r=new Float64Array(o*s);for(let a=0,i=0;i<o;i++)for(let u=0;u<s;u++,a++){let l=D(i+n[0][a],0,o-1),_=D(u+n[1][a],0,s-1),f=Math.min(Math.floor(l),o-2),p=Math.min(Math.floor(_),s-2),[c,m]=[l-f,_-p],d=f*s+p;r[a]=(1-c)*((1-m)*t[d]+m*t[d+1])+c*((1-m)*t[d+s]+m*t[d+s+1])}return r}function yt(t,e){let[n,o]=e,s=(r,a,i,u,l)=>{let _=i>0?1:0,f=i<u-1?1:0;return(r[a+f*l]-r[a-_*l])/(_+f)};return Float64Array.from(t[0],(r,a)=>{let[i,u]=[Math.floor(a/o),a%o],l=t.map(f=>s(f,a,i,n,o)),_=t.map(f=>s(f,a,u,o,1));return(1+l[0])*(1+_[1])-l[1]*_[0]})}function bt(t){let e=new Float64Array(t.length/4);for(let n=0;n<e.length;n++){let[o,s,r,a]=t.subarray(4*n,4*n+4);e[n]=(.2126*o+.7152*s+.0722*r)/255*(a/255)}return e}function xt(t){let[e,n]=t.reduce(([o,s],r)=>[Math.min(o,r),Math.max(s,r)],[1/0,-1/0]);return n>e?t.map(o=>(o-e)/(n-e)):t.map(()=>0)}function Pe(t,e,n){if(e===n)return t;let o=new Float64Array(n*n),s=(e-1)/(n-1);for(let r=0,a=0;a<n;a++)for(let i=0;i<n;i++,r++){let[u,l]=[a*s,i*s],_=Math.min(Math.floor(u),e-2),f=Math.min(Math.floor(l),e-2),[p,c,m]=[u-_,l-f,_*e+f];o[r]=(1-p)*((1-c)*t[m]+c*t[m+1])+p*((1-c)*t[m+e]+c*t[m+e+1])}return o}var kt=.12,$t=1.2*kt;function Mt([t,e]){let n=Math.hypot(t,e),o=n>$t?$t/n:1;return[t*o,e*o]}function Ee(t,e,n,o){if(o.every(([i,u])=>!i&&!u))return t;let s=i=>i.map(u=>u*e),r=n.map((i,u)=>s([i[0]+o[u][0],i[1]+o[u][1]])),a=o.map(i=>s(i).map(u=>-u));return re(t,[e,e],vt([e,e],r,a,kt*e))}function Tt(t,e,n){let o=n/Math.max(t,e);return[(n-t*o)/2,(n-e*o)/2,t*o,e*o]}var se=t=>[1,3,5].map(e=>parseInt(t.slice(e,e+2),16)),St=(t,e,n)=>t.map((o,s)=>o+(e[s]-o)*n);var ro=["#16161d","#5b4a78","#c98b7d","#f6ecd4"].map(se),so=["#2a6fd1","#101216","#e8853a"].map(se);function ie(t,e,n,o){let s=e.displacement.length/2,r=[e.displacement.subarray(0,s),e.displacement.subarray(s)],a=n.map(i=>{let u=e[`${i}/gates`];return{name:i,grid:Math.round(Math.sqrt(u.length/2/o.length)),experts:o,gates:u,shares:e[`${i}/shares`]}});return{size:t,u:r,layers:a}}var Pt=(t,e)=>t.reduce((n,o,s)=>n+Math.abs(o-e[s]),0)/t.length;function Et(t,e,{size:n,u:o}){let s=re(t,[n,n],o),r=0;for(let a=0;a<o[0].length;a++)r=Math.max(r,Math.hypot(o[0][a],o[1][a]));return{warped:s,before:Pt(t,e),after:Pt(s,e),longest:r,folded:yt(o,[n,n]).reduce((a,i)=>a+(i<=0),0)}}function At({before:t,after:e,longest:n,folded:o}){let s=o?`${o} voxels folded.`:"No voxel folded.";return`Difference to the fixed image ${F(t,3)} before, ${F(e,3)} after. Longest displacement ${F(n,1)} voxels. ${s}`}var ae=({grid:t,experts:e},n,o,s,r)=>((n*e.length+o)*t+s)*t+r;function pn(t,e,n,o){let s=0;for(let r=1;r<t.experts.length;r++)t.gates[ae(t,e,r,n,o)]>t.gates[ae(t,e,s,n,o)]&&(s=r);return s}function mn(t,e,n,o){return t.experts.reduce((s,r,a)=>s+t.shares[ae(t,e,a,n,o)],0)}var hn=[128,128,128];function Ct(t,e,n){let{grid:o}=t,s=new Float64Array(o*o);for(let i=0;i<s.length;i++)s[i]=Math.abs(mn(t,e,Math.floor(i/o),i%o));let r=.1*s.reduce((i,u)=>Math.max(i,u),1e-6),a=new Uint8ClampedArray(4*s.length);return s.forEach((i,u)=>{let l=se(n[pn(t,e,Math.floor(u/o),u%o)]);a.set([...St(hn,l,.25+.75*Math.min(i/r,1)),255],4*u)}),a}function Dt(t,e,n,o){let s=(a,i)=>a[ae(t,e,i,n,o)],r=t.experts.map((a,i)=>i).filter(a=>s(t.gates,a)>0);return r.sort((a,i)=>s(t.gates,i)-s(t.gates,a)),r.map(a=>`${t.experts[a]} ${dt(s(t.shares,a)).trim()} (gate ${F(s(t.gates,a))})`).join(", ")}var Ot={recorded:"A recorded run. Move a handle, or press the button, and the network is loaded into this page.",loading:"The network is being loaded, once.",live:"The network runs in this page.",missing:"The network cannot run in this browser; this is a recorded run."};function Nt(t,e,n){let o=e.map(({moves:h,result:w})=>{let{moving:g,fixed:M}=t.pairs[0];return{...w,images:{moving:Ee(g,t.size,t.centres,h),fixed:M}}}),s=t.centres.map(()=>[0,0]),r=wt({pair:0,own:{},size:t.size,moves:s,frame:0,show:"warped",layer:0,track:0,place:null,status:"recorded",milliseconds:null,shown:0}),[a,i,u,l,_]=[null,o[0],!1,!1,!1],f=()=>{let{pair:h,own:w,size:g,moves:M}=r.state,{moving:R,fixed:U}=h==="own"?w:t.pairs[h],S=t.size;return{moving:Ee(Pe(R,S,g),g,t.centres,M),fixed:Pe(U,S,g)}},p=null,c=()=>{if(p?.of!==i){let{moving:h,fixed:w}=i.images;p={of:i,moving:h,fixed:w,...i,...Et(h,w,i)}}return p},m=async()=>{if(!(!a||_)&&(l=!0,!u)){u=!0;try{for(;l&&!_;){l=!1;let[h,{size:w}]=[f(),r.state],g=await a.run(h.moving,h.fixed,w);i={...g.result,images:h},r.set({status:"live",milliseconds:g.milliseconds,shown:r.state.shown+1}),await new Promise(requestAnimationFrame)}}finally{u=!1}}},d=async()=>{if(r.state.status==="recorded"){r.set({status:"loading"});try{a=await n(),await m()}catch(h){a=null,r.set({status:"missing"}),console.info(`moereg: ${h.message}`)}}},v=["pair","size","moves"],$=r.subscribe((h,w)=>{!(v.some(M=>w.has(M))||w.has("own")&&h.pair==="own")||w.has("frame")||(h.status==="recorded"?d():m())});return{store:r,current:c,start:d,still:s,get network(){return a},show(h){i=o[h],r.set({frame:h,moves:e[h].moves,shown:r.state.shown+1})},destroy(){_=!0,$()}}}var dn=()=>typeof WebAssembly=="object"&&typeof WebAssembly.instantiate=="function";async function Ft(t,e,{sizes:n,layers:o,experts:s}){if(!dn())throw new Error("This browser has no WebAssembly.");let r=f=>new URL(f,t).href,a=await e(r("ort.wasm.min.mjs"));Object.assign(a.env.wasm,{numThreads:1,wasmPaths:t.href});let i=It(r("weights.bin")),u=new Map,l=async f=>{let[p,c]=await Promise.all([It(r(`graph-${f}.onnx`)),i]);return a.InferenceSession.create(p,{executionProviders:["wasm"],externalData:[{path:"weights.bin",data:c}]})},_=f=>{if(!n.includes(f))throw new Error(`size must be one of ${n}, got ${f}.`);return u.has(f)||u.set(f,l(f)),u.get(f)};return{session:_,async run(f,p,c){let m=[1,1,c,c],d=M=>new a.Tensor("float32",Float32Array.from(M),m),v=await _(c),$=performance.now(),h=await v.run({moving:d(f),fixed:d(p)}),w=performance.now()-$,g=Object.fromEntries(Object.entries(h).map(([M,{data:R}])=>[M,R]));return{result:ie(c,g,o,s),arrays:g,milliseconds:w}}}}async function It(t){let e=await fetch(t);if(!e.ok)throw new Error(`${t} is not there (${e.status}).`);return new Uint8Array(await e.arrayBuffer())}var gn={ArrowUp:["row",-1],ArrowDown:["row",1],ArrowLeft:["column",-1],ArrowRight:["column",1],PageUp:["normal",1],PageDown:["normal",-1],Home:["home",0]};function Ae(t,{shift:e}){return n=>{let[o,s]=gn[n.key]??[];!o||t(o,s*(n.shiftKey?e:1))===!1||(n.preventDefault(),n.stopPropagation())}}function Ce(t,e){return[(e.clientY-t.top)/t.height,(e.clientX-t.left)/t.width]}function De({ondrag:t,onpress:e,onhover:n,onleave:o}){return{onpointerdown:s=>{s.button||(s.currentTarget.setPointerCapture(s.pointerId),e?.(s))},onpointermove:s=>{s.currentTarget.hasPointerCapture(s.pointerId)?t(s):s.pointerType==="mouse"&&n?.(s)},onpointerleave:s=>o?.(s)}}var L=384,wn="#e8a53a";function ce(t,e,n){let o=new Uint8ClampedArray(4*e.length);e.forEach((s,r)=>o.set([255*s,255*s,255*s,255],4*r)),Oe(t,o,n,!0)}function Lt(t,e,{warped:n,fixed:o,moving:s,size:r,u:a}){if(e==="difference"){let i=new Uint8ClampedArray(4*n.length);return n.forEach((u,l)=>{let _=Math.max(-1,Math.min(1,2*(u-o[l])));i.set([128+127*_,128-60*Math.abs(_),128-127*_,255],4*l)}),Oe(t,i,r,!0)}ce(t,e==="grid"?s:n,r),e==="grid"&&vn(t,r,a)}function vn(t,e,n){let o=L/e,s=Math.max(2,Math.round(e/24)),r=(u,l)=>{let _=u*e+l;return[(l+n[1][_]+.5)*o,(u+n[0][_]+.5)*o]};Object.assign(t,{strokeStyle:wn,lineWidth:1.5});let a=u=>{t.beginPath(),u.forEach(([l,_],f)=>f?t.lineTo(l,_):t.moveTo(l,_)),t.stroke()},i=Array.from({length:e},(u,l)=>l);for(let u=Math.floor(s/2);u<e;u+=s)a(i.map(l=>r(u,l))),a(i.map(l=>r(l,u)))}function Rt(t,e,n,o,s){if(Oe(t,Ct(e,n,o),e.grid,!1),!s)return;let r=L/e.grid;for(let[a,i]of[["#000000",5],["#ffffff",2]])Object.assign(t,{strokeStyle:a,lineWidth:i}),t.strokeRect(s[1]*r,s[0]*r,r,r)}function Oe(t,e,n,o){let s=Object.assign(document.createElement("canvas"),{width:n,height:n});s.getContext("2d").putImageData(new ImageData(e,n,n),0,0),t.imageSmoothingEnabled=o,t.drawImage(s,0,0,L,L)}var yn=["moving","fixed"];async function $n(t,e){if(!/^image\/(png|jpeg)$/.test(t.type))throw new Error(`${t.name} is no PNG and no JPEG.`);let n;try{n=await createImageBitmap(t)}catch{throw new Error(`${t.name} could not be read as an image.`)}let s=Object.assign(document.createElement("canvas"),{width:e,height:e}).getContext("2d",{willReadFrequently:!0});return s.imageSmoothingQuality="high",s.drawImage(n,...Tt(n.width,n.height,e)),n.close(),xt(bt(s.getImageData(0,0,e,e).data))}function Ut({given:t,model:{store:e,still:n},state:o}){let[s,r]=ne(""),a=async(i,u)=>{if(u)try{let l={...e.state.own,[i]:await $n(u,t.size)};r("");let _=l.moving&&l.fixed;e.set(_?{own:l,pair:"own",moves:n,place:null}:{own:l})}catch(l){r(l.message)}};return y`
    <details class="mlv-own">
      <summary>Drop your images</summary>
      <p>
        Two images that show the same thing, PNG or JPEG. They are read in this page and never leave it. The network has
        seen phantoms of abdomens only: what it does with other images shows how far that carries.
      </p>
      <div class="mlv-drops">
        ${yn.map(i=>y`<${bn} role=${i} there=${!!o.own[i]} take=${u=>a(i,u)} />`)}
      </div>
      <p role="status" class="mlv-problem">${s}</p>
    </details>
  `}function bn({role:t,there:e,take:n}){let o=j();return y`
    <label class="mlv-drop" ref=${o} ondragover=${a=>a.preventDefault()} ondrop=${a=>{a.preventDefault(),n(a.dataTransfer.files[0])}}>
      ${`${e?"Taken: ":""}${t} image `}
      <input
        type="file"
        accept="image/png,image/jpeg"
        onchange=${a=>n(a.currentTarget.files[0])}
      />
    </label>
  `}var Ht=["fine","middle","coarse"],Ie=["down","across"],jt={warped:"moved by the network",grid:"grid on the moving image",difference:"difference"};function Wt({given:t,model:e,state:n}){let o=e.current(),s=n.status==="missing",r=Se("mlv");return y`
    <section
      class="mlv"
      aria-label="A network that registers two images in this page"
      data-theme=${mt()}
      data-ready="true"
      data-status=${n.status}
      data-shown=${n.shown}
      data-size=${o.size}
    >
      <div class="mlv-panels">
        <${_e} title="Drag: the moving image" note="pull a handle">
          <${kn} id=${r} given=${t} model=${e} state=${n} seen=${o} still=${s} />
        <//>
        <${_e} title="Target: the fixed image" note="stays as it is">
          <${ue} label="Fixed image." draw=${a=>ce(a,o.fixed,o.size)} given=${[o]} />
        <//>
        <${_e} title="Result: the registered image" note=${jt[n.show]}>
          <${ue}
            label=${`Result: ${jt[n.show]}.`}
            draw=${a=>Lt(a,n.show,o)}
            given=${[o,n.show]}
          />
        <//>
        <${_e} title="Experts: who moved it" note="colour: largest gate">
          <${Tn} given=${t} model=${e} state=${n} seen=${o} />
        <//>
      </div>
      <${Sn} given=${t} seen=${o} />
      <output class="mlv-said" aria-live="polite">${xn(n,o)}</output>
      ${s?y`<${An} given=${t} model=${e} state=${n} />`:y`<${Pn} given=${t} model=${e} state=${n} id=${r} />`}
      <${Cn} model=${e} state=${n} />
      <p class="mlv-hint" id=${r}>
        ${Ot[n.status]}${" "}
        ${n.status==="recorded"&&y`<button type="button" class="mlv-button" onclick=${e.start}>
          Run the network here (${t.megabytes} MB)
        </button>`}
      </p>
      ${!s&&y`<${Ut} given=${t} model=${e} state=${n} />`}
    </section>
  `}function xn({status:t,milliseconds:e,place:n,layer:o,track:s},r){let a=t==="live"&&e?` ${Math.round(e)} ms.`:"",i=n&&n[0]<r.layers[o].grid&&n[1]<r.layers[o].grid?n:null,u=i&&` Here, ${Ie[s]}: ${Dt(r.layers[o],s,...i)} voxels of this level.`;return At(r)+a+(u||"")}var _e=({title:t,note:e,children:n})=>{let[o,s]=t.split(": ");return y`
    <figure>
      <figcaption><b>${o}</b> ${s}<small>${e}</small></figcaption>
      ${n}
    </figure>
  `};function ue({label:t,draw:e,given:n,canvas:o}){let s=j(),r=o??s;return oe(()=>e(r.current.getContext("2d")),n),y`<canvas ref=${r} width=${L} height=${L} role="img" aria-label=${t} />`}function kn({id:t,given:e,model:n,state:o,seen:s,still:r}){let a=j();return y`
    <div class="mlv-stage">
      <${ue} label="Moving image." draw=${u=>ce(u,s.moving,s.size)} given=${[s]} canvas=${a} />
      ${!r&&e.centres.map((u,l)=>y`<${Mn} key=${l} k=${l} id=${t} centre=${u} model=${n} state=${o} over=${a} />`)}
    </div>
  `}function Mn({k:t,id:e,centre:n,model:o,state:s,over:r}){let{store:a}=o,[i,u]=s.moves[t],l=(...c)=>a.set({moves:a.state.moves.map((m,d)=>d===t?Mt(c):m)}),_=c=>{let[m,d]=Ce(r.current.getBoundingClientRect(),c);l(m-n[0],d-n[1])},f=(c,m)=>{if(c==="normal")return!1;let d=m/a.state.size;l(...{row:[i+d,u],column:[i,u+d],home:[0,0]}[c])},p=c=>F(c*s.size,0);return y`
    <button
      type="button"
      class="mlv-handle"
      aria-describedby=${e}
      aria-label=${`Handle ${t+1}: ${p(i)} down, ${p(u)} right, in voxels; arrow keys move it`}
      style=${{left:`${(n[1]+u)*100}%`,top:`${(n[0]+i)*100}%`}}
      onkeydown=${Ae(f,{shift:4})}
      ...${De({ondrag:_})}
    >
      ${t+1}
    </button>
  `}function Tn({given:t,model:e,state:n,seen:o}){let{store:s}=e,r=o.layers[n.layer],a=r.grid-1,i=_=>{let[f,p]=Ce(_.currentTarget.getBoundingClientRect(),_);s.set({place:[f,p].map(c=>D(Math.floor(c*r.grid),0,a))})},u=(_,f)=>{if(_==="normal")return!1;let[p,c]=s.state.place??[Math.floor(a/2),Math.floor(a/2)],m={row:[p+f,c],column:[p,c+f],home:[0,0]}[_];s.set({place:m.map(d=>D(d,0,a))})},l=`Experts of the ${Ht[n.layer]} level, ${Ie[n.track]}; arrow keys ask about a place.`;return y`
    <div
      class="mlv-ask"
      tabindex="0"
      role="application"
      aria-roledescription="map"
      aria-label=${l}
      onkeydown=${Ae(u,{shift:4})}
      ...${De({onpress:i,ondrag:i})}
    >
      <${ue}
        label=${l}
        draw=${_=>Rt(_,r,n.track,t.colours,n.place)}
        given=${[o,n.layer,n.track,n.place]}
      />
    </div>
  `}var Sn=({given:t,seen:e})=>y`
  <p class="mlv-legend">
    <span>Experts are filters, told apart by how far they look:</span>
    ${e.layers[0].experts.map((n,o)=>y`<span><i style=${{background:t.colours[o]}} aria-hidden="true" />${` ${n} voxels`}</span>`)}
    <span><i class="mlv-pale" aria-hidden="true" /> pale: hardly moved</span>
  </p>
`,Pn=({given:t,model:{store:e,still:n},state:o})=>y`
  <div class="mlv-tools">
    <label>
      Choose a pair
      <select onchange=${s=>En(e,n,s.currentTarget.value)}>
        ${t.pairs.map(({name:s},r)=>y`<option value=${r} selected=${o.pair===r}>${s}</option>`)}
        ${o.own.moving&&o.own.fixed&&y`<option value="own" selected=${o.pair==="own"}>your own images</option>`}
      </select>
    </label>
    <label>
      Set the size
      <select onchange=${s=>e.set({size:Number(s.currentTarget.value),place:null})}>
        ${t.sizes.map(s=>y`<option value=${s} selected=${o.size===s}>${s} × ${s}</option>`)}
      </select>
    </label>
    <button type="button" class="mlv-button" onclick=${()=>e.set({moves:n})}>Handles back home</button>
  </div>
`,En=(t,e,n)=>t.set({pair:n==="own"?n:Number(n),moves:e,place:null}),An=({given:t,model:e,state:n})=>y`
  <div class="mlv-tools">
    <label>
      Play the recording
      <input
        type="range"
        min="0"
        max=${t.frames-1}
        value=${n.frame}
        aria-valuetext=${`frame ${n.frame+1} of ${t.frames}`}
        oninput=${o=>e.show(Number(o.currentTarget.value))}
      />
    </label>
  </div>
`,Cn=({model:{store:t},state:e})=>y`
  <div class="mlv-tools">
    <${Ne} legend="Show the result" options=${Object.entries({warped:"moved",grid:"grid",difference:"difference"})}
      value=${e.show} onchange=${n=>t.set({show:n})} />
    <${Ne} legend="Pick a direction" options=${Ie.map((n,o)=>[o,n])}
      value=${e.track} onchange=${n=>t.set({track:n})} />
    <${Ne} legend="Pick a level" options=${Ht.map((n,o)=>[o,n])}
      value=${e.layer} onchange=${n=>t.set({layer:n,place:null})} />
  </div>
`;function Ne({legend:t,options:e,value:n,onchange:o}){let s=Se("mlv-choice");return y`
    <fieldset>
      <legend>${t}</legend>
      ${e.map(([r,a])=>y`
          <label>
            <input type="radio" name=${s} checked=${r===n} onchange=${()=>o(r)} />
            ${` ${a}`}
          </label>
        `)}
    </fieldset>
  `}async function Dn(t){let{read:e}=await gt(t),n=r=>Float64Array.from(e(r).values),o=t.pairs.map(({name:r,moving:a,fixed:i})=>({name:r,moving:n(a),fixed:n(i)})),s=t.recorded.map(({moves:r,arrays:a})=>{let i=Object.fromEntries(Object.entries(a).map(([u,l])=>[u,e(l).values]));return{moves:r,result:ie(t.size,i,t.layers,t.experts)}});return{given:{...t,pairs:o,frames:s.length},frames:s}}async function V(t,e,n,o){let{given:s,frames:r}=await Dn(e),a=Nt(s,r,()=>Ft(n,o,e)),i=()=>ft(y`<${Wt} given=${s} model=${a} state=${a.store.state} />`,t);i();let u=a.store.subscribe(i);return Object.assign(a,{remove(){u(),a.destroy(),pt(t)}})}function Bt(t,e,n){return Promise.all([...t.querySelectorAll("[data-moereg-live]:not([data-moereg-alive])")].map(async o=>{o.dataset.moeregAlive="true";let s=JSON.parse(o.querySelector("script[type='application/json']").textContent);return o.live=await V(o.querySelector("[data-moereg-mount]"),s,e,n),o.live}))}var On={mountLive:V};return Qt(Nn);})();
export const { mountAll, mountLive } = moeregView;
export default moeregView.default;
